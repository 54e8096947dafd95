"""An EMULATION of the part of Nextcloud's WebDAV that the document store uses. It is not Nextcloud.

Written from Nextcloud's manual (chunked upload, version 2) and from how its server is known to
behave: it stores ``OC-Checksum`` without looking at it, and computes a hash when PATCHed with
``X-Recalculate-Hash``. What passes here is shown against this emulation only.

It fails closed: a method, a Depth, an ``OC-`` header, a chunk's name, size or Destination that the
manual does not allow is refused with 400 or 501. It keeps files on disk and streams them.

Faults are planned: each rule of the plan meets requests by method and path, a number of times.
"""

import contextlib
import hashlib
import http.server
import itertools
import shutil
import socket
import struct
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from xml.sax.saxutils import escape

LOGIN = "clínica user"
PASSWORD = "Abcde-fGhij-12345"
TOKEN = "a-bearer-token"
SMALLEST_CHUNK_BYTES = 5 * 1024**2
_BLOCK = 64 * 1024


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests of this method whose path has this text.

    ``kind``: ``status`` (answer it instead), ``reset`` (close when half of the body was read),
    ``lost`` (do it, then close without an answer), ``silent`` (no answer until the client gives
    up), ``corrupt`` (flip the first byte stored), ``truncate`` (store all but the last byte, and
    say it went well), ``ignore`` (do as if If-None-Match and Overwrite had not been sent),
    ``deleted`` (the folder above was deleted just before).
    """

    method: str
    kind: str = "status"
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    path: str = ""
    times: int = 1


@dataclass
class Nextcloud:
    """The emulated server: where it listens, what it stores, what was asked of it."""

    folder: Path
    url: str = ""
    site: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    destinations: dict[str, str] = field(default_factory=dict)
    free_bytes: int = 10**12
    knows_patch: bool = True
    lock: threading.RLock = field(default_factory=threading.RLock)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(4711))
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def uploads(self) -> Path:
        return self.folder / "uploads"

    def stored(self) -> list[str]:
        """All files, temporary ones too, relative to the account's folder."""
        return sorted(
            str(path.relative_to(self.files)) for path in self.files.rglob("*") if path.is_file()
        )

    def sent(self, method: str) -> list[str]:
        return [path for one, path in self.requests if one == method]

    def fault_for(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method == method and fault.path in path:
                    fault.times -= 1
                    return fault
        return None


class RefusedError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloud: Nextcloud

    def log_message(self, *args: object) -> None:
        pass

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    # -- The frame of every request ---------------------------------------------------------------

    def _serve(self) -> None:
        cloud = self.cloud
        self.left = int(self.headers.get("Content-Length") or 0)
        path = unquote(urlsplit(self.path).path)
        with cloud.lock:
            cloud.requests.append((self.command, path))
        fault = cloud.fault_for(self.command, path)
        self.fault = fault.kind if fault else None
        try:
            if fault and fault.kind == "status":
                self._drain()
                self._answer(fault.status, headers=fault.headers)
                return
            if fault and fault.kind == "silent":
                cloud.stopped.wait(20)
                self._cut()
                return
            if fault and fault.kind == "reset":
                self.rfile.read(self.left // 2)
                self._cut()
                return
            self._authenticate()
            self._dispatch(path)
        except RefusedError as refused:
            self._drain()
            self._answer(refused.status)
        except FileNotFoundError:  # another request deleted it meanwhile
            self._drain()
            self._answer(404)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _cut(self) -> None:
        """Close with a reset, as a crashed server does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _answer(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        if self.fault == "lost":
            self._cut()
            return
        self.send_response(status)
        self.send_header("Set-Cookie", "nc_session=must-not-come-back; path=/")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drain(self) -> None:
        while self.left > 0 and (block := self.rfile.read(min(self.left, _BLOCK))):
            self.left -= len(block)

    def _authenticate(self) -> None:
        basic = b64encode(f"{LOGIN}:{PASSWORD}".encode()).decode()
        if self.headers.get("Cookie"):
            raise RefusedError(400)
        if self.headers.get("Authorization") not in {f"Basic {basic}", f"Bearer {TOKEN}"}:
            raise RefusedError(401)

    def _dispatch(self, path: str) -> None:
        for name in self.headers:
            known = {"oc-checksum", "oc-total-length"}
            if name.lower().startswith(("oc-", "x-oc-")) and name.lower() not in known:
                raise RefusedError(400)
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            raise RefusedError(411)
        files, uploads = f"/remote.php/dav/files/{LOGIN}", f"/remote.php/dav/uploads/{LOGIN}"
        if path == files or path.startswith(files + "/"):
            area, relative = "file", path[len(files) :]
        elif path == uploads or path.startswith(uploads + "/"):
            area, relative = "upload", path[len(uploads) :]
        else:
            raise RefusedError(404)
        method = getattr(self, f"_{area}_{self.command.lower()}", None)
        if method is None:
            raise RefusedError(501)
        method(self._local(area, relative))

    def _local(self, area: str, relative: str) -> Path:
        names = relative.strip("/").split("/") if relative.strip("/") else []
        if any(name in {"", ".", ".."} or "\0" in name or "\\" in name for name in names):
            raise RefusedError(400)
        root = self.cloud.files if area == "file" else self.cloud.uploads
        return root.joinpath(*names)

    def _destination(self) -> Path:
        header = self.headers.get("Destination")
        if not header or not header.isascii():
            raise RefusedError(400)
        url = urlsplit(header)
        if url.netloc and url.netloc != self.headers["Host"]:
            raise RefusedError(502)
        prefix = f"/remote.php/dav/files/{LOGIN}/"
        path = unquote(url.path)
        if not path.startswith(prefix):
            raise RefusedError(400)
        return self._local("file", path[len(prefix) :])

    def _receive(self, target: Path) -> None:
        if "Content-Length" not in self.headers:
            raise RefusedError(411)
        if self.left > self.cloud.free_bytes:
            raise RefusedError(507)
        part = target.with_name(f"{target.name}.{threading.get_ident()}.receiving")
        first = True
        with part.open("wb") as file:
            while self.left > 0:
                block = self.rfile.read(min(self.left, _BLOCK))
                if not block:
                    part.unlink()
                    raise ConnectionResetError
                self.left -= len(block)
                if first and self.fault == "corrupt":
                    block = bytes([block[0] ^ 1]) + block[1:]
                first = False
                file.write(block)
            if self.fault == "truncate":
                file.truncate(file.tell() - 1)
        part.replace(target)

    def _number(self, path: Path) -> int:
        with self.cloud.lock:
            return self.cloud.ids.setdefault(str(path), next(self.cloud.numbers))

    # -- Files ------------------------------------------------------------------------------------

    def _file_propfind(self, path: Path) -> None:
        self._propfind(path)

    def _upload_propfind(self, path: Path) -> None:
        self._propfind(path)

    def _propfind(self, path: Path) -> None:
        depth = self.headers.get("Depth")
        if depth not in {"0", "1"}:
            raise RefusedError(400)  # "infinity" is refused by Nextcloud too
        body = self.rfile.read(self.left)
        self.left = 0
        if b"propfind" not in body:
            raise RefusedError(400)
        if not path.exists():
            raise RefusedError(404)
        shown = [path, *(sorted(path.iterdir()) if depth == "1" and path.is_dir() else [])]
        text = "".join(self._response(one) for one in shown if not one.name.endswith(".receiving"))
        self._answer(
            207,
            '<?xml version="1.0"?><d:multistatus xmlns:d="DAV:" '
            f'xmlns:oc="http://owncloud.org/ns">{text}</d:multistatus>'.encode(),
            {"Content-Type": "application/xml; charset=utf-8"},
        )

    def _response(self, path: Path) -> str:
        cloud, stat = self.cloud, path.stat()
        area = "files" if path.is_relative_to(cloud.files) else "uploads"
        root = cloud.files if area == "files" else cloud.uploads
        href = quote(f"/remote.php/dav/{area}/{LOGIN}/{path.relative_to(root)}")
        if path.is_dir():
            kind = (
                "<d:resourcetype><d:collection/></d:resourcetype><d:quota-available-bytes>"
                f"{cloud.free_bytes}</d:quota-available-bytes>"
            )
            missing = "<d:getcontentlength/>"
        else:
            kind = f"<d:resourcetype/><d:getcontentlength>{stat.st_size}</d:getcontentlength>"
            missing = "<d:quota-available-bytes/>"
        return (
            f"<d:response><d:href>{escape(href)}</d:href><d:propstat><d:prop>{kind}"
            f"<d:getlastmodified>{formatdate(stat.st_mtime, usegmt=True)}</d:getlastmodified>"
            f"<oc:fileid>{self._number(path)}</oc:fileid></d:prop>"
            "<d:status>HTTP/1.1 200 OK</d:status></d:propstat><d:propstat><d:prop>"
            f"{missing}</d:prop><d:status>HTTP/1.1 404 Not Found</d:status></d:propstat>"
            "</d:response>"
        )

    def _file_mkcol(self, path: Path) -> None:
        if self.left:
            raise RefusedError(415)
        try:
            path.mkdir()
        except FileExistsError:
            raise RefusedError(405) from None
        except (FileNotFoundError, NotADirectoryError):
            raise RefusedError(409) from None
        self._answer(201)

    def _file_put(self, path: Path) -> None:
        if self.fault == "deleted":
            shutil.rmtree(path.parent)
        if not path.parent.is_dir():
            raise RefusedError(409)
        if self.headers.get("If-None-Match") == "*" and path.exists() and self.fault != "ignore":
            raise RefusedError(412)
        existed = path.exists()
        self._receive(path)
        # Stored as it came; Nextcloud does not look whether it is true.
        self.cloud.checksums[str(path)] = self.headers.get("OC-Checksum", "")
        self._answer(204 if existed else 201, headers={"OC-FileId": str(self._number(path))})

    def _file_get(self, path: Path) -> None:
        if not path.is_file():
            raise RefusedError(404)
        size = path.stat().st_size
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        with path.open("rb") as file:
            sent = 0
            while block := file.read(_BLOCK):
                self.wfile.write(block)
                sent += len(block)

    def _file_delete(self, path: Path) -> None:
        if not path.exists():
            raise RefusedError(404)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._answer(204)

    def _file_patch(self, path: Path) -> None:
        if not self.cloud.knows_patch:
            raise RefusedError(501)
        if not path.is_file():
            raise RefusedError(404)
        if self.headers.get("X-Recalculate-Hash") != "sha256":
            raise RefusedError(400)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.cloud.checksums[str(path)] = f"SHA256:{digest}"
        self._answer(204, headers={"OC-Checksum": f"SHA256:{digest}"})

    def _file_move(self, path: Path) -> None:
        target = self._destination()
        if not path.exists():
            raise RefusedError(404)
        with self.cloud.lock:
            self._land(target)
            existed = target.exists()
            number = self._number(path)
            path.replace(target)
            self.cloud.ids[str(target)] = number
            self.cloud.ids.pop(str(path), None)
            self.cloud.checksums[str(target)] = self.cloud.checksums.pop(str(path), "")
        self._answer(204 if existed else 201)

    def _land(self, target: Path) -> None:
        if not target.parent.is_dir():
            raise RefusedError(409)
        if target.exists() and self.headers.get("Overwrite") == "F" and self.fault != "ignore":
            raise RefusedError(412)

    # -- Uploads: https://docs.nextcloud.com/server/latest/developer_manual/client_apis/WebDAV/
    #    chunking.html -----------------------------------------------------------------------------

    def _upload_mkcol(self, path: Path) -> None:
        if path.parent != self.cloud.uploads:
            raise RefusedError(400)
        destination = self._destination()
        if not destination.parent.is_dir():
            raise RefusedError(409)
        try:
            path.mkdir()
        except FileExistsError:
            raise RefusedError(405) from None
        self.cloud.destinations[path.name] = str(destination)
        self._answer(201)

    def _transfer(self, folder: Path) -> None:
        if not folder.is_dir():
            raise RefusedError(404)
        if self.cloud.destinations.get(folder.name) != str(self._destination()):
            raise RefusedError(400)

    def _upload_put(self, path: Path) -> None:
        self._transfer(path.parent)
        if not path.name.isascii() or not path.name.isdigit() or not 1 <= int(path.name) <= 10000:
            raise RefusedError(400)
        if not int(self.headers.get("OC-Total-Length", "0")) >= 1:
            raise RefusedError(400)
        self._receive(path)
        self._answer(201)

    def _upload_delete(self, path: Path) -> None:
        self._file_delete(path)

    def _upload_move(self, path: Path) -> None:
        if path.name != ".file":
            raise RefusedError(400)
        folder = path.parent
        self._transfer(folder)
        target = self._destination()
        chunks = sorted(folder.iterdir(), key=lambda chunk: int(chunk.name))
        sizes = [chunk.stat().st_size for chunk in chunks]
        if not chunks or sum(sizes) != int(self.headers.get("OC-Total-Length", "-1")):
            raise RefusedError(400)
        if any(size < SMALLEST_CHUNK_BYTES for size in sizes[:-1]):
            raise RefusedError(400)
        assembled = folder / "assembled"
        with assembled.open("wb") as file:
            for chunk in chunks:
                with chunk.open("rb") as part:
                    shutil.copyfileobj(part, file, _BLOCK)
        with self.cloud.lock:
            self._land(target)
            existed = target.exists()
            assembled.replace(target)
        self.cloud.checksums[str(target)] = self.headers.get("OC-Checksum", "")
        shutil.rmtree(folder)
        self._answer(204 if existed else 201)


@contextlib.contextmanager
def nextcloud_emulation(folder: Path) -> Iterator[Nextcloud]:
    """Serve the emulation on a free port of the loopback; its files lie in ``folder``."""
    cloud = Nextcloud(folder)
    cloud.files.mkdir(parents=True)
    cloud.uploads.mkdir()
    handler = type("Handler", (_Handler,), {"cloud": cloud})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    cloud.site = f"http://127.0.0.1:{server.server_port}"
    cloud.url = f"{cloud.site}/remote.php/dav/files/{quote(LOGIN)}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield cloud
    finally:
        cloud.stopped.set()
        server.shutdown()
        server.server_close()
