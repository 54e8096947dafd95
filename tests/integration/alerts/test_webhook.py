"""The webhook's client against a real receiver: its signature, and where it refuses to go."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clinic.clients.webhook import WebhookClient
from clinic.errors import ClinicError, PermanentError, TransientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.processes import free_port
from support.webhook_receiver import SECRET, Receiver

MESSAGE = {"type": "alert.opened", "data": {"title": {"es": "Odoo no responde: ñ"}}}


def client(receiver: Receiver, **settings: Any) -> WebhookClient:
    url = f"http://127.0.0.1:{receiver.port}/alerts"
    return WebhookClient(url, SECRET, **{"allow_private": True, "timeout_s": 2, **settings})


def test_the_receiver_finds_the_signature_good(receiver: Receiver) -> None:
    client(receiver).send("m1", MESSAGE)
    assert receiver.calls == [("m1", MESSAGE)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_another_secret_is_found_out(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver.server, "handle_error", lambda *_: None)
    url = f"http://127.0.0.1:{receiver.port}/alerts"
    other = WebhookClient(url, "whsec_AAAA", allow_private=True, timeout_s=2)
    with pytest.raises(TransientError):
        other.send("m1", MESSAGE)
    assert receiver.requests == 1
    assert receiver.calls == []


@pytest.mark.parametrize(
    ("status", "meaning"),
    [(500, TransientError), (429, TransientError), (408, TransientError),
     (400, PermanentError), (401, PermanentError), (410, PermanentError)],
)  # fmt: skip
def test_what_an_answer_means(receiver: Receiver, status: int, meaning: type[ClinicError]) -> None:
    receiver.statuses = [status]
    with pytest.raises(meaning, match=f"HTTP {status}"):
        client(receiver).send("m1", MESSAGE)


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.statuses = [307]
    receiver.headers = {"Location": f"http://127.0.0.1:{receiver.port}/elsewhere"}
    with pytest.raises(PermanentError, match="leads elsewhere"):
        client(receiver).send("m1", MESSAGE)
    assert receiver.requests == 1


def test_nobody_there_may_be_there_later() -> None:
    nobody = WebhookClient(f"http://127.0.0.1:{free_port()}", SECRET, allow_private=True)
    with pytest.raises(TransientError, match="is the receiver up"):
        nobody.send("m1", MESSAGE)


def test_one_that_never_answers_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TransientError, match="timed out"):
            WebhookClient(url, SECRET, allow_private=True, timeout_s=0.3).send("m1", MESSAGE)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
     "0.0.0.0", "::1", "fd00::1", "fe80::1", "::ffff:10.0.0.1"],
)  # fmt: skip
def test_a_private_address_is_not_called(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    # The name is public, what it is answered with is not.
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def answer(*_: object, **__: object) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 6, "", (address, receiver.port))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    with pytest.raises(PermanentError, match="private network"):
        WebhookClient("https://hooks.example/alerts", SECRET).send("m1", MESSAGE)
    assert receiver.requests == 0


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate that signs itself; return its file and the key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "key.pem").write_bytes(secret)
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize(
    ("name", "is_trusted"), [("hooks.example", True), ("other.example", False)]
)
def test_the_certificate_has_to_be_the_names_though_the_number_is_called(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_trusted: bool
) -> None:
    cert, key = certificate(tmp_path, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    plain = receiver.server.socket
    receiver.server.socket = context.wrap_socket(plain, server_side=True)
    monkeypatch.setattr(receiver.server, "handle_error", lambda *_: None)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, *args, **more: real("127.0.0.1", *args, **more)
    )
    url = f"https://hooks.example:{receiver.port}/alerts"
    hooks = WebhookClient(url, SECRET, allow_private=True, timeout_s=2)
    if is_trusted:
        hooks.send("m1", MESSAGE)
        assert receiver.calls == [("m1", MESSAGE)]
    else:
        with pytest.raises(TransientError, match=r"[Hh]ostname"):
            hooks.send("m1", MESSAGE)
        assert receiver.calls == []


@pytest.mark.parametrize(
    "url", ["http://hooks.example", "ftp://hooks.example", "hooks.example", "https://a:b@hooks.example"]
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_said(url: str) -> None:
    with pytest.raises(PermanentError, match="clinic_alert_webhook"):
        WebhookClient(url, SECRET)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!"])
def test_a_secret_that_cannot_be_used_is_said_without_saying_it(secret: str) -> None:
    with pytest.raises(PermanentError, match="the secret cannot be used") as said:
        WebhookClient("https://hooks.example", secret)
    assert "base64!" not in str(said.value)
