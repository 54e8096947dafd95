"""A real WebDAV server, wsgidav under cheroot, in a process of its own."""

import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import httpx
from clinic.documents.store import Upload
from support.processes import free_port, wait_until

LOGIN = "clinica"
PASSWORD = "app-pässword 1"

_SERVE = """
import json, sys
from cheroot import wsgi
from wsgidav.wsgidav_app import WsgiDAVApp
settings = json.loads(sys.argv[1])
app = WsgiDAVApp(settings)
wsgi.Server((settings["host"], settings["port"]), app, numthreads=8).start()
"""


DOCUMENT = "0f9d2a44-7c1b-4a55-9d0e-5b8f3f6c2e11"
INVOICE = f"2026/03/invoice/INV-2026-00001_{DOCUMENT[:8]}.pdf"


def upload_of(folder: Path, content: bytes | int = b"%PDF-1.7 one", **values: object) -> Upload:
    """A document to store; ``content`` is its bytes, or how many zeros."""
    path = folder / "spooled.pdf"
    with path.open("wb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            file.truncate(content)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    fields: dict[str, object] = {
        "document_id": DOCUMENT,
        "revision": 1,
        "document_type": "invoice",
        "file_name": "INV-2026-00001.pdf",
        "content_type": "application/pdf",
        "path": path,
        "size_bytes": path.stat().st_size,
        "sha256": digest,
        "date": date(2026, 3, 31),
        "reserved_id": None,
    }
    return Upload(**(fields | values))  # type: ignore[arg-type]


PUT_ONE = """
import json, re, sys
from datetime import date
from pathlib import Path
from clinic.clients.webdav import WebDavStore
from clinic.documents.store import Upload

def peak_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

url, login, password, fields = json.loads(sys.stdin.read())
fields["path"], fields["date"] = Path(fields["path"]), date.fromisoformat(fields["date"])
store = WebDavStore.connect(url, "Clinica", login=login, password=password)
store.check()
before = peak_mb()
stored = store.put(Upload(**fields))
print(json.dumps({"created": stored.created, "url": stored.url, "grown_mb": peak_mb() - before}))
"""


def put_in_a_process(
    url: str, login: str, password: str, upload: Upload
) -> "subprocess.Popen[str]":
    """Store a document from a process that can be killed; its answer comes as a line of JSON."""
    fields = {name: getattr(upload, name) for name in Upload.__dataclass_fields__}
    process = subprocess.Popen(
        [sys.executable, "-c", PUT_ONE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps([url, login, password, fields], default=str))
    process.stdin.close()
    process.stdin = None  # or communicate() would flush it
    return process


@dataclass(frozen=True)
class WebDav:
    """A running server: its address, and the folder in which it keeps the files."""

    url: str
    files: Path
    process: "subprocess.Popen[bytes]"


@contextlib.contextmanager
def webdav_server(folder: Path) -> Iterator[WebDav]:
    """Run wsgidav for one account; its files lie in ``folder``/files."""
    files = folder / "files"
    files.mkdir()
    port = free_port()
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "provider_mapping": {"/": str(files)},
        "http_authenticator": {
            "accept_basic": True,
            "accept_digest": False,
            "default_to_digest": False,
        },
        "simple_dc": {"user_mapping": {"*": {LOGIN: {"password": PASSWORD}}}},
        "dir_browser": {"enable": False},
        "lock_storage": True,
        "property_manager": True,
        "verbose": 1,
        "logging": {"enable": True},
    }
    log = folder / "wsgidav.log"
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, json.dumps(settings)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:

        def answers() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"wsgidav ended: {log.read_text()[-2000:]}")
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(url, trust_env=False).status_code == 401
            return False

        wait_until(answers, "wsgidav answers")
        yield WebDav(url, files, process)
    finally:
        process.kill()
        process.wait()
