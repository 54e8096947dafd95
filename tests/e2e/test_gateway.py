"""The gateway in front of the real systems: trust, names, what is closed, and what streams."""

import json
import ssl
import time

import httpx
import pytest
from support.keycloak import admin_api

pytestmark = pytest.mark.stack
EVIL = {
    "X-Forwarded-Host": "evil.test",
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Port": "81",
    "Forwarded": "for=6.6.6.6;host=evil.test;proto=http",
}


@pytest.fixture(scope="module")
def realm_url(stack_env):
    return f"{stack_env['KEYCLOAK_PUBLIC_URL']}/realms/{stack_env['KEYCLOAK_REALM']}"


@pytest.fixture(scope="module")
def keycloak_admin(stack_env):
    with admin_api(stack_env, f"/{stack_env['KEYCLOAK_REALM']}") as client:
        yield client


def test_every_host_shows_a_certificate_that_the_stacks_authority_vouches_for(http, stack_env):
    for name in ("ODOO", "AIRFLOW", "KEYCLOAK", "RABBITMQ", "DASHBOARD"):
        answer = http.get(stack_env[f"{name}_PUBLIC_URL"])
        assert answer.status_code in {200, 302, 303, 503}, name


def test_who_does_not_know_that_authority_does_not_trust_it(stack_env):
    unknowing = ssl.create_default_context(cafile="/etc/ssl/certs/ca-certificates.crt")
    with (
        httpx.Client(verify=unknowing, timeout=10) as client,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.get(stack_env["ODOO_PUBLIC_URL"])


def test_the_issuer_is_the_same_whoever_asks_and_whatever_they_claim(http, stack_env, realm_url):
    path = "/.well-known/openid-configuration"
    own = f"{stack_env['KEYCLOAK_URL']}/realms/{stack_env['KEYCLOAK_REALM']}{path}"
    answers = [
        http.get(realm_url + path),
        http.get(realm_url + path, headers=EVIL),
        httpx.get(own, timeout=10),
        httpx.get(own, headers={"Host": "evil.test"}, timeout=10),
    ]
    for answer in answers:
        assert answer.json()["issuer"] == realm_url
        assert answer.json()["authorization_endpoint"].startswith(f"{realm_url}/")
    assert "evil" not in answers[1].text


def test_a_forged_host_does_not_get_into_the_address_a_login_returns_to(http, stack_env):
    base = stack_env["AIRFLOW_PUBLIC_URL"]
    answer = http.get(f"{base}/auth/login", headers=EVIL)
    location = httpx.URL(answer.headers["location"])
    assert str(location).startswith(stack_env["KEYCLOAK_PUBLIC_URL"])
    assert location.params["redirect_uri"] == f"{base}/auth/login_callback"
    assert "secure" in answer.headers["set-cookie"].lower()


def test_a_forged_address_does_not_get_into_keycloaks_journal(http, realm_url, keycloak_admin):
    """Else whoever guesses passwords would write down somebody else's address."""
    began_ms = int(time.time() * 1000) - 5000
    http.post(
        f"{realm_url}/protocol/openid-connect/token",
        headers=EVIL,
        data={"grant_type": "client_credentials", "client_id": "sync", "client_secret": "guess"},
    )
    events = keycloak_admin.get("/events", params={"type": "CLIENT_LOGIN_ERROR", "max": 20}).json()
    ours = [event for event in events if event["time"] >= began_ms]
    assert ours
    assert all(event["ipAddress"] not in {"6.6.6.6", "unknown"} for event in ours)


@pytest.mark.parametrize(
    ("system", "path"),
    [
        ("ODOO", "/web/database/manager"),
        ("ODOO", "/web/database/selector"),
        ("AIRFLOW", "/docs"),
        ("AIRFLOW", "/redoc"),
        ("AIRFLOW", "/openapi.json"),
        ("AIRFLOW", "/execution/health"),
        ("AIRFLOW", "/api/v2/monitor/health"),
        ("AIRFLOW", "/api/v2/version"),
        ("KEYCLOAK", "/realms/master/protocol/openid-connect/certs"),
        ("KEYCLOAK", "/admin/master/console/"),
        ("KEYCLOAK", "/metrics"),
    ],
)
def test_what_is_closed_to_people_is_there_on_the_machine_itself(http, stack_env, system, path):
    assert http.get(stack_env[f"{system}_PUBLIC_URL"] + path).status_code == 404


def test_keycloaks_console_opens_on_its_own_address(new_context, stack_env):
    page = new_context().new_page()
    page.goto(f"{stack_env['KEYCLOAK_URL']}/admin/master/console/")
    page.locator("#username").fill(stack_env["KEYCLOAK_ADMIN"])
    assert page.url.startswith(stack_env["KEYCLOAK_URL"])
    page.locator("#password").fill(stack_env["KEYCLOAK_ADMIN_PASSWORD"])
    page.locator("#kc-login").click()
    page.get_by_text("master").first.wait_for()
    assert page.url.startswith(stack_env["KEYCLOAK_URL"])


def test_odoos_login_page_loads_whole_through_the_gateway(new_context, stack_env):
    page = new_context().new_page()
    failed = []
    page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.goto(f"{stack_env['ODOO_PUBLIC_URL']}/web/login")
    page.locator("input[name=password]").wait_for()
    assert failed == []


def test_odoos_websocket_opens_for_who_has_a_session(new_context, stack_env):
    """Odoo's page opens it in a worker, where a test cannot look: so it opens one more."""
    page = new_context().new_page()
    page.goto(f"{stack_env['ODOO_PUBLIC_URL']}/web/login")
    page.locator("input[name=login]").fill(stack_env["ODOO_LOGIN"])
    page.locator("input[name=password]").fill(stack_env["ODOO_PASSWORD"])
    page.locator("button[type=submit]").first.click()
    page.locator(".o_main_navbar").wait_for(timeout=60_000)
    opened = page.evaluate(
        """() => new Promise(done => {
            const socket = new WebSocket(`wss://${location.host}/websocket`);
            socket.onopen = () => done("open");
            socket.onerror = () => done("refused");
        })"""
    )
    assert opened == "open"


def test_odoos_changes_stream_through_the_gateway_at_once(http, stack_env):
    headers = {"Authorization": f"Bearer {stack_env['ODOO_FEED_API_KEY']}"}
    url = f"{stack_env['ODOO_PUBLIC_URL']}/clinic/changes/stream"
    began = time.monotonic()
    with http.stream("GET", url, headers=headers, params={"limit": 10}) as answer:
        assert answer.status_code == 200
        page = json.loads(next(answer.iter_lines()))
    assert page["cursor"]
    assert time.monotonic() - began < 5  # an answer that is held back comes with its end


def test_rabbitmqs_console_is_there_and_asks_who_you_are(http, stack_env):
    base = stack_env["RABBITMQ_PUBLIC_URL"]
    assert "RabbitMQ" in http.get(base).text
    assert http.get(f"{base}/api/queues/%2F").status_code == 401


def test_the_dashboard_asks_who_you_are(http, stack_env):
    answer = http.get(stack_env["DASHBOARD_PUBLIC_URL"])
    assert answer.status_code == 302
    assert answer.headers["location"].startswith(f"{stack_env['KEYCLOAK_PUBLIC_URL']}/realms/")


def test_the_gateway_itself_says_that_it_is_alive(http, stack_env):
    assert http.get(f"{stack_env['GATEWAY_URL']}/healthz").text == "ok\n"
