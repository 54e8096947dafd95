"""All ten servers at once: what they listen on, what they let slip, and that they come back."""

import ipaddress
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from support.stacks import Stack

SERVERS = (
    "postgres",
    "epmd",
    "rabbitmq",
    "gateway",
    "keycloak",
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


def test_every_server_is_ready(stack: Stack) -> None:
    assert {name: stack.row(name)[3] for name in SERVERS} == dict.fromkeys(SERVERS, "yes")


def test_every_listener_is_on_loopback(stack: Stack) -> None:
    listeners = {
        (process.name(), connection.laddr.ip, connection.laddr.port)
        for process in stack.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len({port for _, _, port in listeners}) >= 11
    outside = [
        listener
        for listener in listeners
        if not (address := ipaddress.ip_address(listener[1])).is_loopback
        and not ((mapped := getattr(address, "ipv4_mapped", None)) and mapped.is_loopback)
    ]
    assert outside == []


def test_no_secret_is_in_a_log_or_on_a_command_line(stack: Stack) -> None:
    secrets = stack.secrets()
    assert len(secrets) > 20
    places = {
        str(path): path.read_text(errors="replace")
        for path in (stack.state / "log").rglob("*")
        if path.is_file()
    } | {str(process): " ".join(process.cmdline()) for process in stack.processes()}
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


def test_the_snapshot_holds_no_password_and_two_installations_share_no_identity(
    stack: Stack,
) -> None:
    with psycopg.connect(stack.values["ODOO_DB_URL"]) as connection:
        row = connection.execute(
            "SELECT value FROM ir_config_parameter WHERE key = 'database.uuid'"
        ).fetchone()
    assert row is not None
    snapshots = list(Path(stack.values["CLINIC_CACHE"]).glob("databases-*"))
    assert snapshots
    for snapshot in snapshots:
        for path in (snapshot / "postgres" / "base").rglob("*"):
            if path.is_file():
                assert row[0].encode() not in path.read_bytes(), path


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
    began = time.monotonic()
    stack.up()
    assert time.monotonic() - began < 150
    test_every_server_is_ready(stack)
