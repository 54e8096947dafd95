"""A gateway of our own in front of servers that say what reached them."""

import asyncio
import datetime
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).parents[3]
DOMAIN = "clinic.test"
LINE_EVERY_S = 2.0  # between two lines of a stream: longer than a busy machine holds one up
ENVOY = str(Path(sys.executable).with_name("envoy"))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def make_certificate(folder: Path) -> Path:
    """A certificate that vouches for itself; answers its file, with the key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(DOMAIN), x509.DNSName(f"*.{DOMAIN}")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "server.crt").write_bytes(certificate.public_bytes(pem))
    (folder / "server.key").write_bytes(
        key.private_bytes(pem, private, serialization.NoEncryption())
    )
    return folder / "server.crt"


class Upstream:
    """A server that answers with what it was asked, or drips lines, or upgrades a connection."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.requests = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.1))
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            self.requests += 1
            method, path, _ = head[0].split(" ", 2)
            headers = [line.split(": ", 1) for line in head[1:] if line]
            names = {name.lower(): value for name, value in headers}
            if names.get("upgrade") == "websocket":
                writer.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n"
                    b"connection: upgrade\r\n\r\n" + self.name.encode()
                )
                await writer.drain()
                await reader.read(100)
            elif path.startswith("/clinic/changes/stream"):
                writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
                for n in range(3):
                    writer.write(json.dumps({"n": n, "at": time.time()}).encode() + b"\n")
                    await writer.drain()
                    await asyncio.sleep(LINE_EVERY_S)
            else:
                said = {"upstream": self.name, "method": method, "path": path, "headers": headers}
                body = json.dumps(said).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nconnection: close\r\nx-powered-by: us\r\n"
                    b"content-length: %d\r\n\r\n" % len(body) + body
                )
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@dataclass
class Gateway:
    """A running Envoy with our configuration."""

    folder: Path
    port: int
    upstreams: dict[str, Upstream]
    certificate: Path
    log: Path
    process: subprocess.Popen

    def render(self, *extra: str) -> subprocess.CompletedProcess:
        return render(self.folder, self.port, self.certificate, self.upstreams, *extra)

    def socket(self, alpn: str = "http/1.1") -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.set_alpn_protocols([alpn])
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return context.wrap_socket(plain, server_hostname=f"odoo.{DOMAIN}")

    def raw(self, host: str, target: str, *headers: str, method: str = "GET") -> tuple[int, str]:
        """One request exactly as written, whatever a well-behaved client would make of it."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
        with self.socket() as connection:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            answer = http.client.HTTPResponse(connection, method=method)
            answer.begin()
            # By its length: Envoy keeps a connection that it closes open for another second.
            return answer.status, answer.read().decode()

    def get(self, host: str, path: str, headers: object = None) -> httpx.Response:
        """One request to a host below the domain, by a well-behaved client."""
        name = f"{host}.{DOMAIN}" if host else DOMAIN
        context = ssl.create_default_context(cafile=str(self.certificate))
        with httpx.Client(verify=context, timeout=10) as client:
            return client.get(
                f"https://127.0.0.1:{self.port}{path}",
                headers=[("Host", f"{name}:{self.port}"), *(headers or [])],
                extensions={"sni_hostname": name},
            )


def render(
    folder: Path, port: int, certificate: Path, upstreams: dict[str, Upstream], *extra: str
) -> subprocess.CompletedProcess:
    addresses = [
        argument
        for name, upstream in upstreams.items()
        for argument in (f"--{name}", f"127.0.0.1:{upstream.port}")
    ]
    return subprocess.run(
        [
            *(sys.executable, ROOT / "gateway" / "render.py", "--out", folder, "--domain", DOMAIN),
            *("--realm", "clinic", "--port", str(port), "--certificate", certificate),
            *("--private-key", certificate.with_suffix(".key"), "--validate", ENVOY),
            *addresses,
            *extra,
        ],
        env=os.environ | {"KEYCLOAK_GATEWAY_SECRET": "login", "GATEWAY_HMAC_SECRET": "h" * 32},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def start(folder: Path, log: Path) -> subprocess.Popen:
    with log.open("a") as output:
        return subprocess.Popen(
            [
                *(ENVOY, "--config-path", "bootstrap.yaml", "--disable-hot-restart"),
                *(
                    "--concurrency",
                    "1",
                    "--log-level",
                    "warning",
                    "--file-flush-interval-msec",
                    "50",
                ),
            ],
            cwd=folder,
            stdout=output,
            stderr=output,
        )


def wait_until_it_answers(gateway: Gateway) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            assert gateway.get("", "/healthz").text == "ok\n"
        except (OSError, httpx.TransportError):
            assert time.monotonic() < deadline, gateway.log.read_text()
            time.sleep(0.05)
        else:
            return
