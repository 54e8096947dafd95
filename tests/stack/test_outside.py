"""The servers that stand for what is not ours: two document stores and a mail server."""

import base64
import json
import mailbox
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from support.processes import wait_until
from support.stacks import Stack, command_lines

SERVICES = ("drive", "webdav", "mail")


@pytest.fixture(scope="module")
def outside(folder: Path) -> Iterator[Stack]:
    """These three, started, and nothing else: they need no other server."""
    stack = Stack(folder / "outside", services=" ".join(SERVICES))
    stack.up()
    yield stack
    stack.run("down")


def trust(stack: Stack) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=stack.values["CA_FILE"])


def store(stack: Stack, method: str, path: str, body: bytes | None = None, word: str = "") -> int:
    """One request to the WebDAV server; its status."""
    values = stack.values
    login = f"{values['WEBDAV_LOGIN']}:{word or values['WEBDAV_PASSWORD']}"
    request = urllib.request.Request(
        f"{values['WEBDAV_URL']}/{path}",
        data=body,
        method=method,
        headers={"Authorization": "Basic " + base64.b64encode(login.encode()).decode()},
    )
    try:
        with urllib.request.urlopen(request, timeout=20, context=trust(stack)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_they_start_without_the_rest(outside: Stack) -> None:
    assert {name: outside.row(name)[3] for name in SERVICES} == dict.fromkeys(SERVICES, "yes")
    assert outside.row("postgres")[1] == "stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_a_killed_one_comes_back_by_itself(outside: Stack, name: str) -> None:
    killed = outside.process(name)
    killed.kill()
    killed.wait(10)
    outside.wait_until_ready(name)
    assert outside.process(name).pid != killed.pid


def test_a_second_up_starts_none_of_them(outside: Stack) -> None:
    before = {name: outside.process(name).pid for name in SERVICES}
    assert "running already" in outside.up()
    assert {name: outside.process(name).pid for name in SERVICES} == before


def test_they_listen_on_loopback_only(outside: Stack) -> None:
    listening = {
        connection.laddr.ip
        for name in SERVICES
        for connection in outside.process(name).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_the_webdav_server_keeps_files_for_the_generated_password(outside: Stack) -> None:
    assert store(outside, "PUT", "informe.pdf", b"%PDF-1.7") == 201
    assert store(outside, "PUT", "informe.pdf", b"%PDF-1.7", word="guess") == 401
    assert store(outside, "PUT", "no-folder/informe.pdf", b"%PDF-1.7") == 409
    kept = outside.state / "webdav" / "files" / "informe.pdf"
    assert kept.read_bytes() == b"%PDF-1.7"
    assert store(outside, "DELETE", "informe.pdf") == 204


@pytest.mark.parametrize("name", ["WEBDAV_URL", "DRIVE_API_URL"])
def test_a_store_is_trusted_by_the_stacks_authority_only(outside: Stack, name: str) -> None:
    address = urlsplit(outside.values[name])
    assert address.scheme == "https"
    place = f"https://127.0.0.1:{address.port}/healthz"
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(place, timeout=20)
    # Whatever it answers, it was reached: no exception of another kind.
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(place, timeout=20, context=trust(outside)).close()


def test_the_drive_emulator_has_keys_of_this_installation(outside: Stack) -> None:
    file = Path(outside.values["DRIVE_KEYFILE"])
    assert file.stat().st_mode & 0o077 == 0
    key = json.loads(file.read_text())
    assert key["type"] == "service_account"
    assert key["token_uri"].startswith(outside.values["DRIVE_API_URL"])
    token = outside.values["DRIVE_EMULATOR_ADMIN_TOKEN"]
    assert len(token) >= 20
    lines = command_lines(outside.processes()).values()
    assert lines
    assert [
        text for text in lines if token in text or outside.values["WEBDAV_PASSWORD"] in text
    ] == []


def test_a_mail_is_kept_and_goes_nowhere(outside: Stack) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"] = "documentos@clinica.example", "jefa@clinica.example"
    mail["Subject"] = "Factura añadida"
    mail.set_content("Señora Muñoz: la factura está guardada.")
    address = urlsplit(outside.values["SMTP_URL"])
    with smtplib.SMTP(address.hostname or "", address.port or 0, timeout=20) as server:
        server.send_message(mail)
    folder = mailbox.Maildir(outside.values["MAIL_DIRECTORY"], create=False)
    wait_until(lambda: len(folder) == 1, "the mail is in the Maildir")
    (kept,) = folder
    assert kept["X-RcptTo"] == "jefa@clinica.example"
    assert "Muñoz" in kept.get_payload(decode=True).decode()  # type: ignore[union-attr]
