"""A WebDAV server, Nextcloud foremost, as a store: ``<root>/<year>/<month>/<type>/<file>``.

How a document gets there, so that nobody ever sees half a file and nothing is overwritten::

    PROPFIND the file     there already? equal bytes: done; others: refused
    PUT a temporary name  in <root>/.incoming; on Nextcloud, above 10 MiB, in chunks
    compare its SHA-256   as the server computes it, or of what it gives back
    MOVE, Overwrite: F    to its place; 412: somebody was there first, look again
    PROPFIND the file     its size, and Nextcloud's number for it

Killed in between, the next try deletes what lies in ``.incoming`` for this document.

A server that stored what it was told under ``OC-Checksum`` proves nothing: Nextcloud stores that
header unread. So it is asked to compute one (``X-Recalculate-Hash``), or the file is read back.

Sources: RFC 4918;
https://docs.nextcloud.com/server/latest/developer_manual/client_apis/WebDAV/chunking.html
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final
from urllib.parse import quote, urlsplit

import httpx
import stamina

from clinic.clients.webdav_protocol import (
    ConflictError,
    Dav,
    Entry,
    NotMendedSoonError,
    Segments,
    blocks,
    checked,
    encoded,
    fit,
    segments,
)
from clinic.documents.reasons import ParkReason, WaitReason
from clinic.documents.store import Stored, Upload
from clinic.errors import ClinicError, ParkError, PermanentError, TransientError

log = logging.getLogger(__name__)

CHUNK_BYTES: Final = 10 * 1024**2
"""A chunk of Nextcloud's, and the size above which a file is sent in chunks. At least 5 MB."""

ABANDONED_AFTER: Final = timedelta(days=1)
"""As long as Nextcloud keeps its own unfinished uploads."""

PATIENCE_S: Final = 10
"""The longest wait that a server may ask for within one try; more is left to the queue."""

_INCOMING: Final = ".incoming"
_FILES: Final = "/remote.php/dav/files/"


class WebDavStore:
    """Stores documents below one folder of a WebDAV server. Two threads may share it.

    Args:
        http: A client with credentials and timeout; see :meth:`connect`.
        url: The folder of the account, ``https://cloud.example/remote.php/dav/files/clinica``.
        root_folder: The folder in it below which everything goes; made if needed.
        is_nextcloud: Whether to speak Nextcloud's dialect; None tells it by the address.
        chunk_bytes: See :data:`CHUNK_BYTES`.

    Raises:
        PermanentError: The address cannot be one of Nextcloud's, or holds no host, or a login.
    """

    name = "webdav"

    @property
    def place(self) -> str:
        """The account's folder."""
        return self._url

    def __init__(
        self,
        http: httpx.Client,
        url: str,
        root_folder: str,
        *,
        is_nextcloud: bool | None = None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        if "@" in url.rpartition("://")[2].partition("/")[0]:
            # It would go on to everybody who is told where a document lies.
            raise PermanentError(
                "The address of the WebDAV folder holds a login or a password: take them out, and "
                "put them into the connection's own fields."
            )
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
            raise PermanentError(
                f"{url!r} is no address of a WebDAV folder: write it in full, "
                "https://cloud.example/remote.php/dav/files/USER."
            )
        self._url = url.rstrip("/")
        self._dav = Dav(http)
        self._root = checked(segments(root_folder))
        self._chunk_bytes = chunk_bytes
        self._known_folders: set[Segments] = set()
        self._nextcloud: tuple[str, str] | None = None
        site, files, user = self._url.partition(_FILES)
        if is_nextcloud is None:
            is_nextcloud = bool(files)
        if is_nextcloud:
            if not files or not user or "/" in user:
                raise PermanentError(
                    f"{url!r} is no address of a Nextcloud folder: copy it from Files, "
                    "Settings, WebDAV. It ends with /remote.php/dav/files/USER."
                )
            self._nextcloud = (site, f"{site}/remote.php/dav/uploads/{user}")

    @classmethod
    def connect(
        cls,
        url: str,
        root_folder: str,
        *,
        login: str,
        password: str,
        is_bearer: bool = False,
        is_nextcloud: bool | None = None,
        timeout_s: float = 30,
    ) -> WebDavStore:
        """Return a store that logs in with an app password, or with a bearer token."""
        headers = {
            # What counts is the bytes that lie there, not what a proxy packs them into.
            "Accept-Encoding": "identity",
        }
        if is_bearer:
            headers["Authorization"] = f"Bearer {password}"
        http = httpx.Client(
            auth=None if is_bearer else httpx.BasicAuth(login, password),
            headers=headers,
            timeout=timeout_s,
            follow_redirects=False,
            # Nextcloud would take its session's cookie for the login, and ask for CSRF tokens.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # The machine's certificates, as SSL_CERT_FILE names them, not only certifi's.
            verify=ssl.create_default_context(),
        )
        try:
            return cls(http, url, root_folder, is_nextcloud=is_nextcloud)
        except ClinicError:
            http.close()
            raise

    def close(self) -> None:
        """Let go of the connections."""
        self._dav.close()

    def reserve(self) -> str | None:
        """Return None: a document's path is its own."""
        return None

    def check(self) -> str:
        """Log in, and say where and how much space is left.

        Raises:
            TransientError: See :func:`clinic.clients.webdav_protocol.refusal`.
        """
        doing = f"Looking at {self._url}"
        entry = self._dav.look(doing, self._url + "/")
        if entry is None or not entry.is_folder:
            raise NotMendedSoonError(
                WaitReason.STORE_NO_ACCESS, f"{doing}: there is no such folder. Check the address."
            )
        kind = "Nextcloud" if self._nextcloud else "WebDAV"
        space = "" if entry.free_bytes is None else f", {entry.free_bytes / 1e9:.1f} GB free"
        return f"Logged in to {kind} at {self._url}{space}"

    def put(self, upload: Upload) -> Stored:
        """Store a document; what lies there already, byte for byte, is left as it is.

        Blips (a reset, a timeout, 5xx, a lock) are tried up to four times within two minutes.

        Raises:
            TransientError: The server is out of reach, full, refuses the login or the folder.
            ParkError: Other bytes lie in the document's place, or the server takes no such file.
        """
        for attempt in stamina.retry_context(on=_blip, attempts=4, timeout=120, wait_max=8):
            with attempt:
                return self._put_once(upload)
        raise AssertionError("the last attempt raises")

    # -- One try ----------------------------------------------------------------------------------

    def _put_once(self, upload: Upload) -> Stored:
        folder = checked((*self._root, *upload.folders))
        target = checked((*folder, fit(upload.stored_name)))
        if entry := self._look(target):
            return self._found(upload, target, entry)
        try:
            self._make_folder(folder)
            self._make_folder((*self._root, _INCOMING))
            self._delete_abandoned(upload)
            temporary = (*self._root, _INCOMING, f"{_key(upload)}.{secrets.token_hex(4)}")
            try:
                self._send(upload, temporary)
                self._compare_sent(upload, temporary)
                self._dav.send(
                    f"Putting {upload.stored_name} in its place",
                    "MOVE",
                    self._address(temporary),
                    headers={"Destination": self._address(target), "Overwrite": "F"},
                    patience_bytes=upload.size_bytes,
                )
            except ClinicError:
                self._delete_quietly(self._address(temporary))
                raise
        except ConflictError:
            # Somebody deleted a folder, or was there first: the next attempt looks again.
            self._known_folders.clear()
            raise
        if (entry := self._look(target)) is None:
            raise TransientError(
                f"{upload.stored_name} was stored and is gone again: did somebody move it?"
            )
        if entry.size_bytes != upload.size_bytes:
            raise self._others_bytes(target)
        return self._stored(upload, target, entry, created=True)

    def _found(self, upload: Upload, target: Segments, entry: Entry) -> Stored:
        """Compare what lies in the document's place."""
        if entry.is_folder or entry.size_bytes != upload.size_bytes:
            raise self._others_bytes(target)
        if self._sha256(upload, target) != upload.sha256:
            raise self._others_bytes(target)
        return self._stored(upload, target, entry, created=False)

    @staticmethod
    def _others_bytes(target: Segments) -> ParkError:
        return ParkError(
            ParkReason.STORE_REFUSED,
            f"Something else lies at {'/'.join(target)}, and is not overwritten: look at it, move "
            "it away if it does not belong there, then replay this document.",
        )

    def _stored(self, upload: Upload, target: Segments, entry: Entry, *, created: bool) -> Stored:
        url = self._address(target)
        if self._nextcloud and entry.fileid:
            url = f"{self._nextcloud[0]}/f/{quote(entry.fileid, safe='')}"
        return Stored(
            store=self.name,
            file_id=entry.fileid or "/".join(target),
            url=url,
            size_bytes=upload.size_bytes,
            sha256=upload.sha256,
            created=created,
        )

    def _compare_sent(self, upload: Upload, temporary: Segments) -> None:
        """Raise unless the bytes on the server are the document's."""
        entry = self._look(temporary)
        size_bytes = entry.size_bytes if entry else None
        if size_bytes != upload.size_bytes:
            raise TransientError(
                f"Sending {upload.stored_name}: {upload.size_bytes} bytes were sent and "
                f"{size_bytes} arrived. They are sent again."
            )
        if self._sha256(upload, temporary) != upload.sha256:
            raise TransientError(
                f"Sending {upload.stored_name}: the bytes that arrived are not those that were "
                "sent (SHA-256). They are sent again."
            )

    def _sha256(self, upload: Upload, path: Segments) -> str | None:
        """Return the SHA-256 of what lies on the server, computed from its bytes."""
        doing = f"Comparing {upload.stored_name}"
        if self._nextcloud:
            # https://github.com/nextcloud/server/pull/26655; where it is not known, read it all.
            answer = self._dav.send(
                doing,
                "PATCH",
                self._address(path),
                fine=(400, 403, 404, 405, 415, 501),
                headers={"X-Recalculate-Hash": "sha256"},
                patience_bytes=upload.size_bytes,
            )
            said: str = answer.headers.get("OC-Checksum", "")
            kind, _, digest = said.partition(":")
            if answer.is_success and kind == "SHA256" and digest:
                return digest.lower()
        return self._dav.sha256(doing, self._address(path), upload.size_bytes)

    # -- Sending ----------------------------------------------------------------------------------

    def _send(self, upload: Upload, temporary: Segments) -> None:
        if self._nextcloud and upload.size_bytes > self._chunk_bytes:
            self._send_chunks(upload, temporary, self._nextcloud[1])
            return
        self._dav.send(
            f"Sending {upload.stored_name}",
            "PUT",
            self._address(temporary),
            headers={
                "If-None-Match": "*",
                "Content-Type": upload.content_type,
                "Content-Length": str(upload.size_bytes),
                "OC-Checksum": f"SHA256:{upload.sha256}",
            },
            content=blocks(upload.path, 0, upload.size_bytes),
            patience_bytes=upload.size_bytes,
        )

    def _send_chunks(self, upload: Upload, temporary: Segments, uploads: str) -> None:
        """Send a file by Nextcloud's chunked upload, version 2."""
        doing = f"Sending {upload.stored_name} in chunks"
        for entry in self._dav.children(doing, uploads + "/"):
            if entry.name.startswith(f"clinic-{_key(upload)}."):
                self._delete_quietly(f"{uploads}/{quote(entry.name, safe='')}")
        folder = f"{uploads}/clinic-{_key(upload)}.{secrets.token_hex(4)}"
        headers = {
            "Destination": self._address(temporary),
            "OC-Total-Length": str(upload.size_bytes),
        }
        self._dav.send(doing, "MKCOL", folder, headers=headers)
        try:
            for number, begin in enumerate(range(0, upload.size_bytes, self._chunk_bytes), 1):
                self._send_chunk(upload, begin, f"{folder}/{number:05}", headers)
            answer = self._dav.send(
                doing,
                "MOVE",
                f"{folder}/.file",
                fine=(400,),
                headers={
                    **headers,
                    "Overwrite": "F",
                    "OC-Checksum": f"SHA256:{upload.sha256}",
                },
                patience_bytes=upload.size_bytes,
            )
            if not answer.is_success:
                raise TransientError(
                    f"{doing}: HTTP 400, the chunks do not add up to {upload.size_bytes} bytes. "
                    "They are sent again."
                )
        except ClinicError:
            self._delete_quietly(folder)
            raise

    def _send_chunk(
        self, upload: Upload, begin: int, address: str, headers: dict[str, str]
    ) -> None:
        """Send one chunk, which may be sent again: its number is its place."""
        size_bytes = min(self._chunk_bytes, upload.size_bytes - begin)
        for attempt in stamina.retry_context(on=_chunk_blip, attempts=3, timeout=60, wait_max=4):
            with attempt:
                self._dav.send(
                    f"Sending {upload.stored_name}, bytes {begin} to {begin + size_bytes - 1}",
                    "PUT",
                    address,
                    headers={**headers, "Content-Length": str(size_bytes)},
                    content=blocks(upload.path, begin, size_bytes),
                    patience_bytes=size_bytes,
                )

    # -- Folders and leftovers --------------------------------------------------------------------

    def _make_folder(self, folder: Segments) -> None:
        """Make a folder and those above it; others may be making them too."""
        if not folder or folder in self._known_folders:
            return
        doing = f"Making the folder {'/'.join(folder)}"
        address = self._address(folder) + "/"
        # 405: it is there (RFC 4918 section 9.3.1). 409: the one above is not.
        if self._dav.send(doing, "MKCOL", address, fine=(405, 409)).status_code == 409:
            if len(folder) == 1:
                raise NotMendedSoonError(
                    WaitReason.STORE_NO_ACCESS,
                    f"{doing}: {self._url} is not there. Check the address of the "
                    "connection, and that the account exists.",
                )
            self._known_folders.discard(folder[:-1])
            self._make_folder(folder[:-1])
            self._dav.send(doing, "MKCOL", address, fine=(405,))
        self._known_folders.add(folder)

    def _delete_abandoned(self, upload: Upload) -> None:
        """Delete what a killed try of this document left, and whatever is older than a day."""
        incoming = (*self._root, _INCOMING)
        long_ago = datetime.now(UTC) - ABANDONED_AFTER
        for entry in self._dav.children("Looking for leftovers", self._address(incoming) + "/"):
            is_ours = entry.name.startswith(f"{_key(upload)}.")
            if is_ours or (entry.modified_at is not None and entry.modified_at < long_ago):
                log.info("Deleting the unfinished upload %s", entry.name)
                self._delete_quietly(self._address((*incoming, entry.name)))

    def _delete_quietly(self, address: str) -> None:
        """Delete a temporary file. Failing is no harm: the next try, or its age, sees to it."""
        with contextlib.suppress(ClinicError):
            self._dav.send("Deleting a temporary file", "DELETE", address, fine=(404,))

    def _look(self, path: Segments) -> Entry | None:
        return self._dav.look(f"Looking at {path[-1]}", self._address(path))

    def _address(self, path: Segments) -> str:
        return f"{self._url}/{encoded(path)}" if path else self._url


def _key(upload: Upload) -> str:
    return checked((f"{upload.document_id}.{upload.revision}",))[0]


def _again(*, but: tuple[type[Exception], ...]) -> Callable[[Exception], bool | float]:
    """Return stamina's rule: what passes by itself, after as long as the server asked for."""

    def rule(error: Exception) -> bool | float:
        if not isinstance(error, TransientError) or isinstance(error, but):
            return False
        if error.retry_after_s is None:
            return True
        return error.retry_after_s if error.retry_after_s <= PATIENCE_S else False

    return rule


_blip: Final = _again(but=(NotMendedSoonError,))
_chunk_blip: Final = _again(but=(NotMendedSoonError, ConflictError))
