"""A virtual host of the tests' own on the running broker, and a line to it that can be cut."""

import contextlib
import json
import selectors
import socket
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pika
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.stack_env import needed

CONN_ID = "rabbitmq_test"


@dataclass(frozen=True)
class Broker:
    """The running broker and a virtual host there, seen by an account that may do anything."""

    host: str
    port: int
    login: str
    password: str
    virtual_host: str

    def channel(self) -> pika.adapters.blocking_connection.BlockingChannel:
        parameters = pika.ConnectionParameters(
            self.host,
            self.port,
            self.virtual_host,
            pika.PlainCredentials(self.login, self.password),
        )
        return pika.BlockingConnection(parameters).channel()


class Line:
    """Passes bytes on to the broker, until it is cut; then it refuses, until it is mended.

    With a context it speaks TLS to whoever calls.
    """

    def __init__(self, target: tuple[str, int], context: ssl.SSLContext | None = None) -> None:
        self._target = target
        self._context = context
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.mend()

    def mend(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._start(self._accept, listener)

    def cut(self) -> None:
        listener, self._listener = self._listener, None
        for end in [*([listener] if listener else []), *self._ends]:
            # Its thread sees the end and closes it; closed here, it would wait for ever.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        self._threads.clear()
        self._ends.clear()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with listener, contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                self._start(self._serve, near)

    def _serve(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as open_ends:
            open_ends.callback(near.close)
            if self._context:
                near.settimeout(10)
                near = self._context.wrap_socket(near, server_side=True)
                open_ends.callback(near.close)
                near.settimeout(None)
            far = open_ends.enter_context(socket.create_connection(self._target))
            self._ends += [near, far]
            if self._listener is None:
                return  # cut meanwhile
            selector = open_ends.enter_context(selectors.DefaultSelector())
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    key.data.sendall(data)
                    # TLS may hold more than the selector can see.
                    while isinstance(key.fileobj, ssl.SSLSocket) and key.fileobj.pending():
                        key.data.sendall(key.fileobj.recv(65536))


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The stack's broker with a virtual host that is gone afterwards."""
    address = urlsplit(needed("AMQP_URL"))
    login, password = needed("RABBITMQ_ADMIN"), needed("RABBITMQ_ADMIN_PASSWORD")
    name = f"provider tests/{uuid.uuid4().hex[:8]}"  # a blank and a slash are allowed
    with httpx.Client(
        base_url=needed("RABBITMQ_MANAGEMENT_URL"), auth=(login, password), timeout=20
    ) as api:
        path = f"/api/vhosts/{quote(name, safe='')}"
        api.put(path, json={}).raise_for_status()
        try:
            everything = {"configure": ".*", "write": ".*", "read": ".*"}
            permissions = f"/api/permissions/{quote(name, safe='')}/{login}"
            api.put(permissions, json=everything).raise_for_status()
            assert address.hostname
            assert address.port
            yield Broker(address.hostname, address.port, login, password, name)
        finally:
            api.delete(path).raise_for_status()


@pytest.fixture
def channel(broker: Broker) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    """A channel that stands outside what is tested."""
    channel = broker.channel()
    yield channel
    channel.connection.close()


@pytest.fixture
def queue(broker: Broker) -> Iterator[str]:
    """An empty durable quorum queue, as the clinic's are."""
    name = f"queue-{uuid.uuid4().hex[:8]}"
    channel = broker.channel()
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
    yield name
    channel.queue_delete(name)
    channel.connection.close()


@pytest.fixture
def line(broker: Broker) -> Iterator[Line]:
    """A line to the broker that can be cut."""
    line = Line((broker.host, broker.port))
    yield line
    line.cut()


@pytest.fixture
def connection(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Makes the Airflow connection `rabbitmq_test`, and returns its id."""

    def make(**fields: object) -> str:
        known = {
            "conn_type": "rabbitmq",
            "host": broker.host,
            "port": broker.port,
            "login": broker.login,
            "password": broker.password,
            "schema": broker.virtual_host,
            "extra": {},
        }
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(known | fields))
        return CONN_ID

    return make


@pytest.fixture
def conn_id(connection: Callable[..., str]) -> str:
    """The Airflow connection to the broker."""
    return connection()


@pytest.fixture
def line_conn_id(connection: Callable[..., str], line: Line) -> str:
    """The Airflow connection to the broker by the line that can be cut."""
    return connection(host="127.0.0.1", port=line.port)


@pytest.fixture
def tls(broker: Broker, tmp_path: Path) -> Iterator[tuple[Line, Path]]:
    """The broker behind TLS, and the file of the authority that signed its certificate."""
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    _self_signed(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    line = Line((broker.host, broker.port), context)
    yield line, certificate
    line.cut()


def _self_signed(certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), False)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
