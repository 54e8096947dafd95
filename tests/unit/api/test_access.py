"""Every route of the app with every bad token, and the keys behind them."""

import asyncio
import base64
import hashlib
import hmac
import json
import time

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi.routing import APIRoute
from inventory_api.app import create_app
from inventory_api.auth import GROUP_SCOPES, KEYS_LAST_S, LEAST_REFRESH_S, Keys, Scope
from inventory_api.problems import Problem
from inventory_api.settings import Settings

ISSUER = "https://auth.clinic.test/realms/clinica-realm"
SETTINGS = Settings(
    database_url="postgresql://nobody@127.0.0.1:9/none",
    issuer=ISSUER,
    jwks_url="http://127.0.0.1:9/",
    public_url="https://farmacia.clinic.test:8443",
    pool_wait_s=0.05,
)
OPEN = {"/api/health", "/metrics"}
KEY, OTHER_KEY = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in "12")
PUBLIC_PEM = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def jwks(**keys):
    found = [
        jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        | {"kid": kid, "use": "sig"}
        for kid, key in keys.items()
    ]
    return {"keys": found}


async def fetch():
    return jwks(one=KEY)


def claims(**changes):
    now = int(time.time())
    whole = {
        "iss": ISSUER,
        "aud": ["gateway", "inventory-api"],
        "sub": "s-1",
        "azp": "gateway",
        "iat": now,
        "exp": now + 300,
        "clinic_scope": " ".join(Scope),
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def signed(key=KEY, kid="one", **changes):
    return jwt.encode(claims(**changes), key, "RS256", {"kid": kid})


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def unsigned():
    return f"{part({'alg': 'none', 'typ': 'JWT', 'kid': 'one'})}.{part(claims())}."


def signed_with_the_public_key():
    """What a verifier takes that lets the token choose the algorithm."""
    text = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'one'})}.{part(claims())}"
    signature = hmac.new(PUBLIC_PEM, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


BAD = {
    "none": lambda: None,
    "nonsense": lambda: "a.b.c",
    "wrong signature": lambda: signed(OTHER_KEY),
    "unknown key": lambda: signed(OTHER_KEY, "two"),
    "algorithm none": unsigned,
    "HS256 with the public key": signed_with_the_public_key,
    "expired": lambda: signed(iat=int(time.time()) - 600, exp=int(time.time()) - 60),
    "without an end": lambda: signed(exp=None),
    "of the future": lambda: signed(nbf=int(time.time()) + 600),
    "foreign audience": lambda: signed(aud="airflow"),
    "without an audience": lambda: signed(aud=None),
    "foreign issuer": lambda: signed(iss="https://auth.clinic.test/realms/master"),
}

APP = create_app(SETTINGS, Keys(fetch))


def _routes(routes):
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            yield from _routes(getattr(route, "routes", []))


ROUTES = [
    (method, each.path, each)
    for each in _routes(APP.router.routes)
    for method in sorted(each.methods)
    if each.path not in OPEN
]
IDS = [f"{method} {path}" for method, path, _ in ROUTES]


def scope_of(route):
    found, waiting = set(), [route.dependant]
    while waiting:
        dependant = waiting.pop()
        waiting += dependant.dependencies
        if scope := getattr(dependant.call, "scope", None):
            found.add(scope)
    return found


def ask(method, path, token):
    path = path.replace("{id}", "1").replace("{document_id}", "x")
    headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def send():
        transport = httpx.ASGITransport(APP)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(send())


def test_the_list_of_routes_is_the_apps_own():
    described = APP.openapi()["paths"]
    found = {(method, path) for method, path, _ in ROUTES}
    assert found == {
        (method.upper(), path)
        for path, item in described.items()
        for method in item
        if path not in OPEN
    }
    assert len(found) >= 14


@pytest.mark.parametrize(("method", "path", "route"), ROUTES, ids=IDS)
def test_no_route_takes_a_bad_token(method, path, route):
    for name, token in BAD.items():
        answer = ask(method, path, token())
        assert answer.status_code == 401, (name, answer.text)
        assert answer.headers["www-authenticate"].startswith("Bearer realm="), name
        assert answer.headers["content-type"] == "application/problem+json", name
        assert answer.json()["status"] == 401


@pytest.mark.parametrize(("method", "path", "route"), ROUTES, ids=IDS)
def test_no_route_does_without_its_scope(method, path, route):
    scopes = scope_of(route)
    if path == "/api/me":
        assert not scopes
        return
    (scope,) = scopes
    others = " ".join(each for each in Scope if each != scope)
    answer = ask(method, path, signed(clinic_scope=others, groups=["/nobody"]))
    assert answer.status_code == 403
    assert f'scope="{scope}"' in answer.headers["www-authenticate"]
    assert answer.headers["content-type"] == "application/problem+json"
    # With it, the answer is about something else: the database is away, or the values are wrong.
    asked = f"{path}?after=x" if path == "/api/events" else path  # else it would stream
    assert ask(method, asked, signed(clinic_scope=scope)).status_code in {422, 503}


@pytest.mark.parametrize("group", GROUP_SCOPES)
def test_a_person_may_what_the_group_may(group):
    answer = ask("GET", "/api/me", signed(clinic_scope=None, groups=[group], name="Ana"))
    assert answer.json() == {
        "name": "Ana",
        "login": None,
        "scopes": sorted(GROUP_SCOPES[group]),
        "language": "es",
    }


def test_another_sites_page_writes_nothing():
    async def send():
        transport = httpx.ASGITransport(APP)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.post(
                "/api/stock-movements",
                headers={
                    "Authorization": f"Bearer {signed()}",
                    "Origin": "https://odoo.clinic.test",
                },
            )

    assert asyncio.run(send()).status_code == 403


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


def keys_of(answers):
    """Keys that are fetched from a list of answers, and how often they were."""
    clock, fetched = Clock(), []

    async def fetch_next():
        fetched.append(clock.now)
        answer = answers[min(len(fetched), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Keys(fetch_next, clock), clock, fetched


def test_a_new_key_of_keycloak_is_taken_up_but_not_asked_for_at_will():
    async def story():
        keys, clock, fetched = keys_of([jwks(one=KEY), jwks(two=OTHER_KEY)])
        assert await keys.get("one")
        for invented in range(50):
            assert await keys.get(f"invented {invented}") is None
        assert len(fetched) == 1
        clock.now += LEAST_REFRESH_S + 1
        assert await keys.get("two")
        assert await keys.get("one") is None
        assert len(fetched) == 2

    asyncio.run(story())


def test_known_keys_serve_while_keycloak_is_away():
    async def story():
        keys, clock, fetched = keys_of([jwks(one=KEY), httpx.ConnectError("away")])
        assert await keys.get("one")
        clock.now += KEYS_LAST_S + 1
        assert await keys.get("one")
        assert len(fetched) == 2

    asyncio.run(story())


def test_without_any_key_nobody_is_called_a_liar():
    async def story():
        keys, _, _ = keys_of([httpx.ConnectError("away")])
        with pytest.raises(Problem) as raised:
            await keys.get("one")
        assert raised.value.status == 503

    asyncio.run(story())
