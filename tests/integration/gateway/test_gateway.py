"""What the gateway lets through, to whom, and what it says of the client."""

import json
import socket
import ssl
import time
import warnings

import httpx
import pytest
from integration.gateway.rig import (
    DOMAIN,
    LINE_EVERY_S,
    free_port,
    start,
    wait_until_it_answers,
)

HOSTS = ["odoo", "airflow", "auth", "rabbitmq"]
FIRST = {"odoo": "/odoo", "airflow": "/", "auth": "/realms/clinic/account/", "rabbitmq": "/api/x"}


def heard(answer):
    """What the upstream was asked: (upstream, path, headers by lower-case name)."""
    said = answer.json()
    headers = {}
    for name, value in said["headers"]:
        headers.setdefault(name.lower(), []).append(value)
    return said["upstream"], said["path"], headers


@pytest.mark.parametrize(
    ("host", "path", "upstream"),
    [
        ("odoo", "/web/login", "odoo"),
        ("odoo", "/json/2/clinic.change/feed", "odoo"),
        ("airflow", "/dags", "airflow"),
        ("airflow", "/auth/login", "airflow"),
        ("airflow", "/api/v2/dags", "airflow"),
        ("auth", "/realms/clinic/protocol/openid-connect/auth", "keycloak"),
        ("auth", "/realms/clinic", "keycloak"),
        ("auth", "/resources/x.css", "keycloak"),
        ("rabbitmq", "/", "rabbitmq"),
        ("rabbitmq", "/api/queues/%2F/invoice_queue", "rabbitmq"),
    ],
)
def test_each_host_name_leads_to_its_system_with_the_path_unchanged(gateway, host, path, upstream):
    assert heard(gateway.get(host, path))[:2] == (upstream, path)


@pytest.mark.parametrize("host", HOSTS)
def test_what_a_client_says_of_itself_is_not_passed_on(gateway, host):
    forged = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-For", "7.7.7.7"),
        ("x-forwarded-host", "evil.test"),
        ("X-FORWARDED-PORT", "1"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-User", "admin"),
        ("X-Forwarded-Server", "evil.test"),
        ("Forwarded", "for=6.6.6.6;host=evil.test"),
        ("X-Real-IP", "6.6.6.6"),
        ("X-Original-URL", "/web/database/manager"),
        ("X-Auth-Request-User", "admin"),
        ("X-Remote-User", "admin"),
        ("X-Request-ID", "11111111-aaaa-bbbb-cccc-000000000000"),
    ]
    _, _, headers = heard(gateway.get(host, FIRST[host], forged))
    assert headers["x-forwarded-host"] == [f"{host}.{DOMAIN}:{gateway.port}"]
    assert headers["x-forwarded-port"] == [str(gateway.port)]
    assert headers["x-forwarded-proto"] == ["https"]
    assert len(headers["x-forwarded-for"]) == 1
    assert len(headers["x-request-id"]) == 1
    text = json.dumps(headers)
    for lie in ("6.6.6.6", "7.7.7.7", "evil", "admin", "/web/database", "11111111-aaaa"):
        assert lie not in text
    for name in ("x-forwarded-prefix", "x-forwarded-user", "forwarded", "x-real-ip"):
        assert name not in headers


def test_the_users_own_cookies_and_authorization_do_get_through(gateway):
    sent = [("Cookie", "_token=1; session=2"), ("Authorization", "Bearer x")]
    _, _, headers = heard(gateway.get("airflow", "/api/v2/dags", sent))
    assert headers["cookie"] == ["_token=1; session=2"]
    assert headers["authorization"] == ["Bearer x"]


def test_a_header_written_with_an_underscore_is_refused(gateway):
    answer = gateway.get("odoo", "/", [("X_Forwarded_For", "6.6.6.6")])
    assert answer.status_code == 400


ODOO_DATABASES = [
    "/web/database",
    "/web/database/manager",
    "/web/database/selector?x=1",
    "/web/database/backup",
    "//web/database/manager",
    "/web//database/manager",
    "/web/./database/manager",
    "/x/../web/database/manager",
    "/web/%64atabase/manager",
    "/%77eb/database",
    "/web%2Fdatabase/manager",
    "/web/database%2fmanager",
    "/web%5Cdatabase",
    "/web\\database\\manager",
    "/WEB/Database/manager",
    "/es/web/database/manager",
    "/es_419/web/database/manager",
    "/sr@latin/web/database/manager",
    "/web/x/..%2fdatabase/manager",
    "/web/%2e%2e/web/database/manager",
]
KEYCLOAK_ADMINISTRATION = [
    "/admin",
    "/admin/",
    "/admin/master/console/",
    "/admin/realms/clinic/users",
    "/realms/master",
    "/realms/master/",
    "/realms/master/protocol/openid-connect/token",
    "/realms/clinic/../master/account",
    "/realms/clinic/..%2fmaster/account",
    "/realms/clinic/%2e%2e/master/account",
    "/realms/clinic/..;/master/account",
    "/realms/clinic/%2e%2e%2fmaster",
    "/realms/%6daster/account",
    "/realms/clinic2/account",
    "//realms/master/account",
    "/realms/clinic\\..\\master",
    "/resources/../admin/",
    "/resources/..%2fadmin",
    "/resources/..%5c..%5cadmin",
    "/metrics",
    "/health/ready",
    "/js/keycloak.js",
    "/welcome",
]
AIRFLOW_OPEN = [
    "/docs",
    "/docs/",
    "/DOCS",
    "/docs/oauth2-redirect",
    "/redoc",
    "/openapi.json",
    "/auth/docs",
    "/auth/openapi.json",
    "/execution/docs",
    "/execution/health",
    "/execution/task-instances/1/run",
    "//execution/health",
    "/%65xecution/health",
    "/x/../execution/health",
    "/api/v2/monitor/health",
    "/api/v2/version",
]


@pytest.mark.parametrize(
    ("host", "path"),
    [
        *(("odoo", path) for path in ODOO_DATABASES),
        *(("auth", path) for path in KEYCLOAK_ADMINISTRATION),
        *(("airflow", path) for path in AIRFLOW_OPEN),
        ("farmacia", "/metrics"),
        *((host, "/oauth2/callback") for host in ("odoo", "airflow", "rabbitmq")),
    ],
)
def test_closed_paths_do_not_reach_the_system_however_they_are_written(gateway, host, path):
    before = {name: upstream.requests for name, upstream in gateway.upstreams.items()}
    status, _ = gateway.raw(f"{host}.{DOMAIN}", path)
    assert status in {400, 404}
    assert {name: upstream.requests for name, upstream in gateway.upstreams.items()} == before


def test_a_browser_with_a_session_sees_how_airflow_is_doing(gateway):
    cookie = [("Cookie", "a=b; _token=abc")]
    assert heard(gateway.get("airflow", "/api/v2/monitor/health", cookie))[0] == "airflow"
    assert heard(gateway.get("airflow", "/api/v2/version", cookie))[0] == "airflow"


@pytest.mark.parametrize(
    "host", ["evil.test", f"x.{DOMAIN}", f"odoo.{DOMAIN}.evil.test", f"odoo.{DOMAIN}:1", "10.0.0.1"]
)
def test_a_host_name_that_is_not_ours_gets_nothing(gateway, host):
    assert gateway.raw(host, "/")[0] == 404
    assert gateway.raw(host, "/healthz")[0] == 404


@pytest.mark.parametrize("host", [f"odoo.{DOMAIN}", f"ODOO.{DOMAIN.upper()}", f"odoo.{DOMAIN}."])
def test_a_host_name_may_be_written_in_other_ways(gateway, host):
    assert json.loads(gateway.raw(host, "/web")[1])["upstream"] == "odoo"


def test_the_dashboard_asks_a_person_without_a_session_to_sign_in(gateway):
    answer = gateway.get("farmacia", "/medicamentos/1")
    assert answer.status_code == 302
    assert answer.headers["location"].startswith(f"https://auth.{DOMAIN}:{gateway.port}/realms/")


def test_the_base_domain_leads_to_every_system(gateway):
    answer = gateway.get("", "/")
    assert answer.status_code == 200
    for host in ("odoo", "airflow", "farmacia", "rabbitmq", "auth"):
        assert f"https://{host}.{DOMAIN}:{gateway.port}/" in answer.text
    assert gateway.get("", "/other").status_code == 404


def test_a_websocket_goes_to_odoos_evented_server(gateway):
    lines = [
        "GET /websocket?version=1 HTTP/1.1",
        f"Host: odoo.{DOMAIN}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    with gateway.socket() as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = b""
        while b"odoo-evented" not in answer:
            chunk = connection.recv(4096)
            assert chunk, answer
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 101")


def test_no_other_path_can_be_made_a_websocket(gateway):
    upgrade = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x"]
    lines = ["GET /web HTTP/1.1", f"Host: odoo.{DOMAIN}", "Connection: Upgrade", *upgrade]
    with gateway.socket() as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        assert b" 403 " in connection.recv(4096).split(b"\r\n")[0] + b" "


def test_changes_are_streamed_line_by_line_from_the_evented_server(gateway):
    name = f"odoo.{DOMAIN}"
    context = ssl.create_default_context(cafile=str(gateway.certificate))
    delays = []
    with (
        httpx.Client(verify=context, timeout=10) as client,
        client.stream(
            "GET",
            f"https://127.0.0.1:{gateway.port}/clinic/changes/stream?cursor=x",
            headers={"Host": name},
            extensions={"sni_hostname": name},
        ) as answer,
    ):
        delays = [time.time() - json.loads(line)["at"] for line in answer.iter_lines() if line]
    assert len(delays) == 3
    # One that is held back comes with the next, or with the end of the answer.
    assert max(delays) < LINE_EVERY_S, "a line waited for the next one"


def test_a_system_that_is_gone_is_answered_for_in_two_languages(gateway, tmp_path):
    """Beside the running gateway: one whose upstreams do not exist."""
    port = gateway.upstreams["rabbitmq"].port
    other = type(gateway)(
        folder=tmp_path / "envoy",
        port=free_port(),
        upstreams=gateway.upstreams,
        certificate=gateway.certificate,
        log=tmp_path / "log",
        process=gateway.process,
    )
    dead = str(free_port())
    rendered = other.render("--odoo", f"127.0.0.1:{dead}")
    assert rendered.returncode == 0, rendered.stderr
    assert str(port) in (other.folder / "clusters.yaml").read_text()
    other.process = start(other.folder, other.log)
    try:
        wait_until_it_answers(other)
        began = time.monotonic()
        answer = other.get("odoo", "/web")
        assert time.monotonic() - began < 10  # and not after the route's time-out
        assert answer.status_code == 503
        assert "El sistema no responde" in answer.text
        assert "does not answer right now" in answer.text
        assert heard(other.get("rabbitmq", "/"))[0] == "rabbitmq"
    finally:
        other.process.kill()
        other.process.wait(20)

    # The socket of its administration is still lying there: the next one starts all the same.
    assert (other.folder / "admin.sock").exists()
    other.process = start(other.folder, other.log)
    try:
        wait_until_it_answers(other)
        assert (other.folder / "admin.sock").stat().st_mode & 0o777 == 0o600
    finally:
        other.process.terminate()
        other.process.wait(20)


def test_the_log_is_json_without_what_stood_behind_the_question_mark(gateway):
    gateway.get(
        "odoo",
        "/web/content/7?access_token=sesame-open",
        [("Authorization", "Bearer sesame-bearer")],
    )
    deadline = time.monotonic() + 10
    entries = []
    while not entries and time.monotonic() < deadline:
        lines = [line for line in gateway.log.read_text().splitlines() if line.startswith("{")]
        entries = [entry for entry in map(json.loads, lines) if entry["path"] == "/web/content/7"]
        time.sleep(0.05)
    (entry,) = entries
    assert entry["status"] == 200
    assert entry["route"] == "odoo"
    assert entry["upstream"] == "odoo"
    assert entry["host"] == f"odoo.{DOMAIN}:{gateway.port}"
    assert "sesame-open" not in gateway.log.read_text()
    assert "sesame" not in json.dumps(entry)


def test_http_2_is_offered_and_old_tls_is_not(gateway):
    with gateway.socket("h2") as connection:
        assert connection.selected_alpn_protocol() == "h2"
        assert connection.version() == "TLSv1.3"
    context = ssl.create_default_context(cafile=str(gateway.certificate))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    plain = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
    with plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname=f"odoo.{DOMAIN}")


def test_plain_http_is_not_answered(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: odoo.{DOMAIN}\r\n\r\n".encode())
        assert not connection.recv(100).startswith(b"HTTP/1.1 2")


def test_answers_carry_the_headers_that_protect_and_none_that_tell(gateway):
    answer = gateway.get("odoo", "/web")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["server"] == "clinic"
    assert "x-powered-by" not in answer.headers
    assert "x-envoy-upstream-service-time" not in answer.headers


class TestRendering:
    def test_again_with_nothing_new_changes_no_file(self, gateway):
        before = {p.name: p.stat().st_mtime_ns for p in gateway.folder.glob("*.yaml")}
        assert len(before) == 6
        done = gateway.render()
        assert done.stdout == "gateway: nothing to change\n"
        assert {p.name: p.stat().st_mtime_ns for p in gateway.folder.glob("*.yaml")} == before

    def test_a_change_is_taken_up_without_a_restart(self, gateway):
        done = gateway.render("--realm", "other")
        assert done.stdout == "gateway: listeners.yaml\n"
        try:
            self.wait_for(gateway, "/realms/other/account", 200)
            assert gateway.get("auth", "/realms/clinic/account").status_code == 404
        finally:
            gateway.render()
            self.wait_for(gateway, "/realms/clinic/account", 200)

    def wait_for(self, gateway, path, status):
        deadline = time.monotonic() + 10
        while gateway.get("auth", path).status_code != status:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def test_what_envoy_refuses_replaces_nothing(self, gateway):
        before = (gateway.folder / "listeners.yaml").read_text()
        done = gateway.render("--bind", "not an address")
        assert done.returncode == 1
        assert "nothing was replaced" in done.stderr
        assert (gateway.folder / "listeners.yaml").read_text() == before
        assert gateway.get("", "/healthz").text == "ok\n"

    @pytest.mark.parametrize("address", ["x", "x:", ":1", "x:99999", "x:0"])
    def test_an_address_that_is_none_is_refused(self, gateway, address):
        done = gateway.render("--odoo", address)
        assert done.returncode == 2
        assert "--odoo" in done.stderr
