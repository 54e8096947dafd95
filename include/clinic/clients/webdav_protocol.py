"""WebDAV's requests, and what each refusal means: under :mod:`clinic.clients.webdav`.

Every failure becomes a :class:`~clinic.errors.TransientError` or a
:class:`~clinic.errors.ParkError` that says what was being done, what came back and what to do.
What a person can mend on the server or in the connection is transient: the document waits, and goes
on by itself once it is mended.

Sources: RFC 4918 (WebDAV), RFC 9110 (HTTP), RFC 4331 (quota).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import httpx
from lxml import etree

from clinic.documents.reasons import ParkReason, WaitReason
from clinic.errors import AwayError, ParkError, PermanentError, TransientError

BLOCK_BYTES: Final = 256 * 1024
"""How much of a file is held in memory at once."""

ANSWER_BYTES: Final = 8 * 1024**2
"""No answer of a server that we hold in memory is larger."""

SEGMENT_BYTES: Final = 250
"""Nextcloud's limit for one name, as most file systems'."""

ADVICE: Final[Mapping[int, str]] = {
    401: "The login was refused: make a new app password and put it into the connection.",
    403: "Give the account of the connection the right to write in this folder.",
    404: "The folder is gone, or the address of the connection is wrong. Folders are made again.",
    405: "This is no WebDAV folder: check the address of the connection.",
    409: "The folder above is gone; it is made again.",
    412: "Somebody put a file there meanwhile; it is compared.",
    423: "The file or its folder is locked: close it where it is open, or wait for the lock.",
    429: "The server asks for fewer requests.",
    507: "The account's space is used up: raise its quota or free space.",
}
"""What to do about the refusals that somebody can mend, or that pass."""

_MENDED: Final[Mapping[int, WaitReason]] = {
    401: WaitReason.STORE_SIGN_IN,
    403: WaitReason.STORE_NO_ACCESS,
    405: WaitReason.STORE_NO_ACCESS,
    507: WaitReason.STORE_FULL,
}

WAITING: Final = frozenset({408, 425, *ADVICE})

UNFIT: Final = '"*:<>?|;#'
"""What Windows, or a server that misreads a Destination, cannot have in a name."""


class NotMendedSoonError(AwayError):
    """A person has to do something first: of no use to try again within the minute."""


class ConflictError(TransientError):
    """Something lies, or is missing, where a request needed the contrary: look again."""


Segments = tuple[str, ...]


def segments(path: str) -> Segments:
    """Return the names that lead to a folder; none is empty.

    >>> segments("/Clinica//Documentos/")
    ('Clinica', 'Documentos')
    """
    return tuple(part for part in path.split("/") if part)


def checked(path: Segments) -> Segments:
    """Return ``path`` if every name in it is one that stays where it was put.

    >>> checked(("Clinica", "..", "etc"))
    Traceback (most recent call last):
    ...
    clinic.errors.ParkError: The name '..' cannot be stored: it is no name of a file or folder.

    Raises:
        ParkError: A name leads elsewhere, or no server takes it.
    """
    for name in path:
        problem = None
        if not name or name in {".", ".."}:
            problem = "it is no name of a file or folder"
        elif "/" in name or "\\" in name:
            problem = "it has a slash"
        elif unfit := sorted(set(name).intersection(UNFIT)):
            problem = f"it has {' '.join(unfit)}"
        elif not name.isprintable():
            problem = "it has characters that cannot be printed"
        elif name != name.strip() or name.endswith("."):
            problem = "it begins or ends with a space, or ends with a dot"
        elif len(name.encode()) > SEGMENT_BYTES:
            problem = f"it is longer than {SEGMENT_BYTES} bytes"
        if problem:
            raise ParkError(
                ParkReason.STORE_REFUSED, f"The name {name[:80]!r} cannot be stored: {problem}."
            )
    return path


def fit(name: str) -> str:
    """Return a name with a dash for what :data:`UNFIT` lists.

    >>> fit("INV: 1?.pdf")
    'INV- 1-.pdf'
    """
    return name.translate(dict.fromkeys(map(ord, UNFIT), "-"))


def encoded(path: Segments) -> str:
    """Return ``path`` as it stands in an address.

    >>> encoded(("Año 2026", "50%.pdf"))
    'A%C3%B1o%202026/50%25.pdf'
    """
    return "/".join(quote(name, safe="") for name in checked(path))


@dataclass(frozen=True, slots=True)
class Entry:
    """What a server says of one file or folder."""

    name: str
    is_folder: bool
    size_bytes: int | None
    modified_at: datetime | None
    fileid: str | None  # Nextcloud's own number; people's addresses are made of it
    free_bytes: int | None


_PROPFIND: Final = (
    b'<?xml version="1.0" encoding="utf-8"?>'
    b'<d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns"><d:prop>'
    b"<d:resourcetype/><d:getcontentlength/><d:getlastmodified/><d:quota-available-bytes/>"
    b"<oc:fileid/></d:prop></d:propfind>"
)
_DAV: Final = "{DAV:}"
_OC: Final = "{http://owncloud.org/ns}"


def parse_multistatus(doing: str, body: bytes) -> list[Entry]:
    """Return what a PROPFIND answered.

    A document type is refused, and no entity is ever resolved, nor anything loaded.

    Raises:
        TransientError: It is not WebDAV's XML.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise _not_webdav(doing, "unreadable XML") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise _not_webdav(doing, "XML with a document type")
    if root.tag != f"{_DAV}multistatus":
        raise _not_webdav(doing, "other XML")
    try:
        return [_entry(response) for response in root.iterfind(f"{_DAV}response")]
    except ValueError as error:
        raise _not_webdav(doing, "properties that cannot be read") from error


def _not_webdav(doing: str, what: str) -> NotMendedSoonError:
    return NotMendedSoonError(
        WaitReason.STORE_NO_ACCESS,
        f"{doing}: the server answers {what} where WebDAV's was asked for. Check that the address "
        "of the connection is that of a WebDAV folder.",
    )


def _entry(response: etree._Element) -> Entry:
    found: dict[str, etree._Element] = {}
    for block in response.iterfind(f"{_DAV}propstat"):
        if " 200" in (block.findtext(f"{_DAV}status") or ""):
            found.update({str(prop.tag): prop for prop in block.iterfind(f"{_DAV}prop/*")})
    kind = found.get(f"{_DAV}resourcetype")
    size, free = (
        _text(found, f"{_DAV}getcontentlength"),
        _text(found, f"{_DAV}quota-available-bytes"),
    )
    modified = _text(found, f"{_DAV}getlastmodified")
    href = urlsplit(response.findtext(f"{_DAV}href") or "").path.rstrip("/")
    return Entry(
        name=unquote(href.rsplit("/", 1)[-1]),
        is_folder=kind is not None and kind.find(f"{_DAV}collection") is not None,
        size_bytes=int(size) if size else None,
        modified_at=parsedate_to_datetime(modified).astimezone(UTC) if modified else None,
        fileid=_text(found, f"{_OC}fileid"),
        # Nextcloud answers -3 for "no limit", and -1 and -2 for "not known".
        free_bytes=int(free) if free and int(free) >= 0 else None,
    )


def _text(found: Mapping[str, etree._Element], tag: str) -> str | None:
    element = found.get(tag)
    return (element.text or "").strip() or None if element is not None else None


class Dav:
    """Sends WebDAV's requests to addresses below one origin.

    Args:
        http: A client with credentials and a timeout, which follows no redirect: the password
            would go with it.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._timeout_s = http.timeout.read or 30

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def send(
        self,
        doing: str,
        method: str,
        url: str,
        *,
        fine: Sequence[int] = (),
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterator[bytes] | None = None,
        patience_bytes: int = 0,
    ) -> httpx.Response:
        """Send one request, once, and return its answer, which is 2xx or one of ``fine``.

        Args:
            doing: What is being done, for people.
            method: The method.
            url: The whole address.
            fine: Statuses that are answers and no failures.
            headers: Headers beside the client's own.
            content: The body.
            patience_bytes: How many bytes the server has to move or hash before it answers.

        Raises:
            TransientError: See :func:`refusal`.
            ParkError: See :func:`refusal`.
        """
        with self._sent(doing, method, url, headers, content, patience_bytes) as response:
            size = 0
            parts: list[bytes] = []
            for part in response.iter_raw():
                size += len(part)
                if size > ANSWER_BYTES:
                    raise _not_webdav(doing, "more than it should")
                parts.append(part)
        answer = httpx.Response(
            response.status_code, headers=response.headers, content=b"".join(parts)
        )
        if answer.is_success or answer.status_code in fine:
            return answer
        raise refusal(doing, answer)

    @contextmanager
    def _sent(
        self,
        doing: str,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterator[bytes] | None = None,
        patience_bytes: int = 0,
    ) -> Iterator[httpx.Response]:
        # 2 MB/s is a slow disk: what is slower than that has stopped.
        timeout = httpx.Timeout(self._timeout_s, read=self._timeout_s + patience_bytes / 2e6)
        try:
            with self._http.stream(
                method, url, headers=headers, content=content, timeout=timeout
            ) as response:
                yield response
        except httpx.TimeoutException as error:
            raise AwayError(
                WaitReason.STORE_AWAY,
                f"{doing}: no answer in time ({type(error).__name__}). Trying again may help; "
                "is the server overloaded?",
            ) from error
        except httpx.TransportError as error:
            raise AwayError(
                WaitReason.STORE_AWAY,
                f"{doing}: {str(error) or type(error).__name__}. Trying again may help; is the "
                "server up, and its certificate good?",
            ) from error

    def look(self, doing: str, url: str) -> Entry | None:
        """Return what lies at ``url``; None when nothing does."""
        entries = self._propfind(doing, url, "0")
        return entries[0] if entries else None

    def children(self, doing: str, url: str) -> list[Entry]:
        """Return what lies in the folder at ``url``; nothing when it is not there."""
        return self._propfind(doing, url, "1")[1:]  # the first is the folder itself

    def _propfind(self, doing: str, url: str, depth: str) -> list[Entry]:
        headers = {"Depth": depth, "Content-Type": "application/xml; charset=utf-8"}
        answer = self.send(doing, "PROPFIND", url, fine=(404,), headers=headers, content=_PROPFIND)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return []
        if answer.status_code != HTTPStatus.MULTI_STATUS:
            raise _not_webdav(doing, f"HTTP {answer.status_code}")
        entries = parse_multistatus(doing, answer.content)
        if not entries:
            raise _not_webdav(doing, "nothing")
        return entries

    def sha256(self, doing: str, url: str, size_bytes: int) -> str | None:
        """Read a file back and return its SHA-256; None when it has another size."""
        digest, read = hashlib.sha256(), 0
        with self._sent(doing, "GET", url) as response:
            if response.status_code != HTTPStatus.OK:
                raise refusal(doing, response)
            for part in response.iter_raw(BLOCK_BYTES):
                digest.update(part)
                read += len(part)
                if read > size_bytes:
                    return None
        return digest.hexdigest() if read == size_bytes else None


def refusal(doing: str, response: httpx.Response) -> TransientError | PermanentError:
    """Return the error that a refusal means. The server's own page is not repeated."""
    status = response.status_code
    try:
        said = f"{doing}: HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        said = f"{doing}: HTTP {status}"
    if status in {409, 404, 412}:
        return ConflictError(f"{said}. {ADVICE[status]}")
    if reason := _MENDED.get(status):
        return NotMendedSoonError(reason, f"{said}. {ADVICE[status]}")
    if status >= 500 or status in WAITING:
        advice = ADVICE.get(status, "Trying again may help; is the server in maintenance?")
        after_s = retry_after_s(response.headers.get("Retry-After"))
        said = f"{said}. {advice}"
        if status == 423:  # this file's, or this folder's
            return TransientError(said, retry_after_s=after_s)
        reason = WaitReason.STORE_BUSY if status == 429 else WaitReason.STORE_AWAY
        return AwayError(reason, said, retry_after_s=after_s)
    if status < 400:
        return NotMendedSoonError(
            WaitReason.STORE_NO_ACCESS,
            f"{said}, to elsewhere. The login is not sent there: put the address that it leads to "
            "into the connection.",
        )
    return ParkError(
        ParkReason.STORE_REFUSED,
        f"{said}. The server does not take this file: look at its name, type and size, and at the "
        "server's own rules.",
    )


def retry_after_s(header: str | None) -> float | None:
    """Return how long a server asks to wait, by its Retry-After (RFC 9110 section 10.2.3).

    >>> retry_after_s("7"), retry_after_s("soon"), retry_after_s(None)
    (7.0, None, None)
    """
    if not header:
        return None
    if re.fullmatch(r"[0-9]{1,9}", header.strip()):
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def blocks(path: Path, begin: int, size_bytes: int) -> Iterator[bytes]:
    """Yield ``size_bytes`` of a file, from ``begin`` on."""
    with path.open("rb") as file:
        file.seek(begin)
        left = size_bytes
        while left and (block := file.read(min(BLOCK_BYTES, left))):
            left -= len(block)
            yield block
