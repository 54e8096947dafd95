"""All servers at once: what they listen on, what they let slip, and that they come back."""

import contextlib
import ipaddress
import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from support.processes import wait_until
from support.stacks import Stack, command_lines

WAITING = "SELECT count(*) FROM ir_module_module WHERE state LIKE 'to %'"
SNAPSHOT_PORT = 5432
"""A name for a socket only."""

SERVERS = (
    "postgres",
    "epmd",
    "rabbitmq",
    "gateway",
    "drive",
    "webdav",
    "mail",
    "keycloak",
    "inventory-api",
    "odoo",
    "airflow-api",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
)


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Stack]:
    """Everything, started."""
    whole = Stack(folder / "whole", services="")
    whole.up()
    yield whole
    whole.run("down")


@pytest.fixture(scope="module")
def second(folder: Path) -> Iterator[Stack]:
    """Another installation: Odoo and its database, started."""
    other = Stack(folder / "second", services="postgres odoo")
    other.up()
    yield other
    other.run("down")


@pytest.fixture(scope="module")
def snapshot(stack: Stack, folder: Path) -> Iterator[Path]:
    """A server on a copy of the snapshot that the stack began with: the folder of its socket."""
    name = (stack.state / "initialised").read_text().strip()
    base = folder / "snapshot"
    base.mkdir()
    source = Path(stack.values["CLINIC_CACHE"]) / name / "postgres"
    subprocess.run(["cp", "-a", "-T", source, base / "data"], check=True)
    options = {"listen_addresses": "", "unix_socket_directories": base, "port": SNAPSHOT_PORT}
    words = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
    with subprocess.Popen(["postgres", "-D", base / "data", *words]) as server:
        ready = ["pg_isready", "-q", "-h", base, "-p", str(SNAPSHOT_PORT), "-d", "postgres"]
        wait_until(
            lambda: subprocess.run(ready, check=False).returncode == 0, "the copy's server is ready"
        )
        yield base
        server.terminate()


def test_every_server_is_ready(stack: Stack) -> None:
    assert {name: stack.row(name)[3] for name in SERVERS} == dict.fromkeys(SERVERS, "yes")


def test_every_listener_is_on_loopback(stack: Stack) -> None:
    listeners = set()
    for process in stack.processes():
        with contextlib.suppress(psutil.NoSuchProcess):  # a task's, which has just ended
            listeners |= {
                (process.name(), connection.laddr.ip, connection.laddr.port)
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            }
    assert len({port for _, _, port in listeners}) >= 14
    outside = [
        listener
        for listener in listeners
        if not (address := ipaddress.ip_address(listener[1])).is_loopback
        and not ((mapped := getattr(address, "ipv4_mapped", None)) and mapped.is_loopback)
    ]
    assert outside == []


def test_no_secret_is_in_a_log_or_on_a_command_line(stack: Stack) -> None:
    secrets = stack.secrets()
    assert len(secrets) > 30
    cache = Path(stack.values["CLINIC_CACHE"])
    places = {
        str(path): path.read_text(errors="replace")
        for folder in (stack.state / "log", stack.state / "airflow" / "logs", cache / "log")
        for path in folder.rglob("*")
        if path.is_file()
    } | command_lines()
    assert len(places) > 30
    assert [
        (name, place)
        for name, secret in secrets.items()
        for place, text in places.items()
        if secret in text
    ] == []


def test_files_with_secrets_are_their_owners_alone(stack: Stack) -> None:
    secrets = set(stack.secrets().values())
    holding = [
        path
        for path in stack.state.rglob("*")
        if path.is_file()
        and path.stat().st_size < 1_000_000
        and any(secret in path.read_text(errors="replace") for secret in secrets)
    ]
    assert stack.state / "stack.env" in holding
    assert [path for path in holding if path.stat().st_mode & 0o077] == []
    assert stack.state.stat().st_mode & 0o077 == 0


def count(address: str, query: str) -> int:
    with psycopg.connect(address) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize(
    ("database", "query"),
    [
        ("postgres", "SELECT count(*) FROM pg_authid WHERE rolpassword IS NOT NULL"),
        ("odoo", "SELECT count(*) FROM res_users WHERE password IS NOT NULL"),
        ("odoo", "SELECT count(*) FROM res_users_apikeys"),
        ("keycloak", "SELECT count(*) FROM realm"),
        ("keycloak", "SELECT count(*) FROM component_config WHERE name = 'privateKey'"),
        ("keycloak", "SELECT count(*) FROM credential"),
    ],
)
def test_an_installation_holds_secrets_and_the_snapshot_does_not(
    stack: Stack, snapshot: Path, database: str, query: str
) -> None:
    own = stack.values["POSTGRES_ADMIN_URL"].removesuffix("postgres") + database
    assert count(own, query) > 0
    copy = f"host={snapshot} port={SNAPSHOT_PORT} user=clinic dbname={database}"
    assert count(copy, query) == 0


@pytest.mark.parametrize("name", ["database.uuid", "database.secret"])
def test_two_installations_and_the_snapshot_share_no_identity(
    stack: Stack, second: Stack, snapshot: Path, name: str
) -> None:
    values = set()
    for address in (
        stack.values["ODOO_DB_URL"],
        second.values["ODOO_DB_URL"],
        f"host={snapshot} port={SNAPSHOT_PORT} user=clinic dbname=odoo",
    ):
        with psycopg.connect(address) as connection:
            values.add(
                connection.execute(
                    "SELECT value FROM ir_config_parameter WHERE key = %s", [name]
                ).fetchone()
            )
    assert None not in values
    assert len(values) == 3


def test_no_addon_waits_to_be_installed(second: Stack) -> None:
    """Else Odoo's processes load everything anew at each other's bidding, without an end."""
    assert count(second.values["ODOO_DB_URL"], WAITING) == 0


def test_an_installation_that_lost_its_api_keys_gets_new_ones(second: Stack) -> None:
    def admitted(key: str) -> bool:
        request = urllib.request.Request(
            f"{second.values['ODOO_URL']}/json/2/res.users/context_get",
            data=b"{}",
            headers={"Authorization": f"bearer {key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20):
                return True
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 401:
                raise
            return False

    names = ("ODOO_API_KEY", "ODOO_FEED_API_KEY", "ODOO_DOCUMENTS_API_KEY")
    lost = [second.values[name] for name in names]
    assert [admitted(key) for key in lost] == [True, True, True]
    # What a kill leaves between Odoo's commit and the writing of the keys.
    path = second.state / "credentials.json"
    kept = {name: word for name, word in second.secrets().items() if "odoo_key_" not in name}
    path.write_text(json.dumps(kept))
    second.up()
    new = [second.values[name] for name in names]
    assert [admitted(key) for key in new] == [True, True, True]
    assert [admitted(key) for key in lost] == [False, False, False]


def test_the_gateway_answers_with_a_certificate_of_the_stacks_own_authority(stack: Stack) -> None:
    trust = ssl.create_default_context(cafile=stack.values["CA_FILE"])
    with urllib.request.urlopen(stack.values["ODOO_PUBLIC_URL"], timeout=20, context=trust) as page:
        assert page.status == 200
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(stack.values["ODOO_PUBLIC_URL"], timeout=20)


def test_all_of_it_comes_back_after_everything_was_killed(stack: Stack) -> None:
    for process in stack.processes():
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue  # it ended with its box
    stack.up()
    test_every_server_is_ready(stack)
