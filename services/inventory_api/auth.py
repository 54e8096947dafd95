"""Who may ask what: access tokens of Keycloak, and the scopes that they give.

A token counts when Keycloak signed it (RS256 and no other way), for this API, and it has not ended.
Scopes come from two claims that only Keycloak's administrators can fill: a person's ``groups``, and
``clinic_scope``, which a program's client is given in ``keycloak/clinica-realm.yaml``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

import httpx
import jwt
import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from inventory_api.problems import Problem
from inventory_api.settings import Settings

log = structlog.get_logger(__name__)


class Scope(StrEnum):
    """What a token may give."""

    INVENTORY_READ = "inventory.read"
    INVENTORY_WRITE = "inventory.write"
    PATIENTS_READ = "patients.read"
    REPORTS_READ = "reports.read"
    WEBHOOKS_MANAGE = "webhooks.manage"


GROUP_SCOPES: Final[Mapping[str, frozenset[Scope]]] = {
    "/farmacia": frozenset({Scope.INVENTORY_READ, Scope.INVENTORY_WRITE, Scope.REPORTS_READ}),
    "/medicina": frozenset({Scope.INVENTORY_READ, Scope.PATIENTS_READ}),
    "/administracion": frozenset({Scope.INVENTORY_READ, Scope.PATIENTS_READ, Scope.REPORTS_READ}),
    "/sistemas": frozenset({Scope.INVENTORY_READ, Scope.REPORTS_READ, Scope.WEBHOOKS_MANAGE}),
}
"""What the members of each group of the realm may ask."""

ALGORITHMS: Final = ["RS256"]
LEEWAY_S: Final = 5
KEYS_LAST_S: Final = 600.0
LEAST_REFRESH_S: Final = 10.0
"""An unknown key id makes the keys be read anew, but not more often: anybody can invent key ids."""
FETCH_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a token speaks for."""

    subject: str
    client: str
    login: str | None
    name: str
    language: str
    scopes: frozenset[Scope]
    ends_at: float
    """When the token ends, in seconds since 1970."""


FetchKeys = Callable[[], Awaitable[Mapping[str, Any]]]


class Keys:
    """Keycloak's public keys by id, read again when they are old or one is not known."""

    def __init__(self, fetch: FetchKeys, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, Any] = {}
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def get(self, key_id: str) -> Any | None:
        """Return the key of this id, or None when Keycloak has none.

        Raises:
            Problem: The keys cannot be read and none is known (503).
        """
        if self._wants(key_id):
            async with self._lock:
                if self._wants(key_id):
                    await self._read()
        if not self._keys:
            raise Problem(
                503, "The login service does not answer. Try again in a moment.", retry_after_s=5
            )
        return self._keys.get(key_id)

    def _wants(self, key_id: str) -> bool:
        now = self._clock()
        is_old = now - self._read_at > KEYS_LAST_S
        return (is_old or key_id not in self._keys) and now - self._tried_at > LEAST_REFRESH_S

    async def _read(self) -> None:
        self._tried_at = self._clock()
        try:
            keys = (await self._fetch())["keys"]
            self._keys = {
                key["kid"]: jwt.PyJWK(key).key
                for key in keys
                if key.get("kty") == "RSA" and key.get("use", "sig") == "sig"
            }
            self._read_at = self._tried_at
        except (httpx.HTTPError, KeyError, TypeError, ValueError, jwt.PyJWTError) as error:
            log.warning("jwks", error=type(error).__name__)
            if not self._keys:  # else the known ones serve while Keycloak is away
                self._tried_at -= LEAST_REFRESH_S - 1


def unauthorized(detail: str, code: str = "invalid_token") -> Problem:
    """The answer to a missing or bad token. https://www.rfc-editor.org/rfc/rfc6750#section-3"""
    challenge = 'Bearer realm="clinica"' + (f', error="{code}"' if code else "")
    return Problem(401, detail, headers={"WWW-Authenticate": challenge})


class Verifier:
    """Turns a token into who it speaks for."""

    def __init__(self, settings: Settings, keys: Keys) -> None:
        self._settings = settings
        self._keys = keys

    async def principal(self, token: str) -> Principal:
        """Check a token.

        Raises:
            Problem: It does not count (401).
        """
        try:
            header = jwt.get_unverified_header(token)
            key_id = header.get("kid")
            if header.get("alg") not in ALGORITHMS or not isinstance(key_id, str):
                raise unauthorized(
                    "The token is not signed as this API asks (RS256 with a key id)."
                )
            key = await self._keys.get(key_id)
            if key is None:
                raise unauthorized("The token is signed with a key that Keycloak does not have.")
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise unauthorized("The token has ended: get a new one.") from None
        except jwt.InvalidAudienceError:
            raise unauthorized(f"The token is not for {self._settings.audience}.") from None
        except (jwt.PyJWTError, ValueError):
            raise unauthorized("The token does not count: get one from Keycloak.") from None
        return _principal(claims)


def _principal(claims: Mapping[str, Any]) -> Principal:
    groups = claims.get("groups")
    scopes = set[Scope]()
    for group in groups if isinstance(groups, list) else []:
        scopes |= GROUP_SCOPES.get(group, frozenset()) if isinstance(group, str) else frozenset()
    granted = claims.get("clinic_scope")
    words = granted.split() if isinstance(granted, str) else []
    scopes |= {Scope(word) for word in words if word in Scope}
    login = claims.get("preferred_username")
    client = str(claims.get("azp") or "")
    return Principal(
        subject=str(claims["sub"]),
        client=client,
        login=login if isinstance(login, str) else None,
        name=str(claims.get("name") or login or client),
        language=str(claims.get("locale") or "es"),
        scopes=frozenset(scopes),
        ends_at=float(claims["exp"]),
    )


def http_keys(url: str) -> FetchKeys:
    """Return what reads the keys from Keycloak."""

    async def fetch() -> Mapping[str, Any]:
        async with httpx.AsyncClient(timeout=FETCH_TIMEOUT_S, trust_env=False) as client:
            answer = await client.get(url)
            answer.raise_for_status()
            return dict(answer.json())

    return fetch


bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    description="An access token of Keycloak for `inventory-api`.",
)


async def signed_in(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Principal:
    """Who is asking; what a route without a scope depends on."""
    if credentials is None:
        raise unauthorized("This needs a token: send Authorization: Bearer ….", code="")
    verifier: Verifier = request.app.state.verifier
    principal = await verifier.principal(credentials.credentials)
    structlog.contextvars.bind_contextvars(subject=principal.subject, client=principal.client)
    return principal


SignedIn = Annotated[Principal, Depends(signed_in)]


def require(scope: Scope) -> Any:
    """Return what a route declares to ask for a scope."""

    async def allowed(principal: SignedIn) -> Principal:
        if scope not in principal.scopes:
            raise Problem(
                403,
                f"This needs the scope {scope}, which {principal.name} does not have. "
                "An administrator gives it by a group in Keycloak.",
                headers={
                    "WWW-Authenticate": (
                        f'Bearer realm="clinica", error="insufficient_scope", scope="{scope}"'
                    )
                },
            )
        return principal

    allowed.scope = scope  # type: ignore[attr-defined]  # the tests ask every route for its scope
    return Depends(allowed)
