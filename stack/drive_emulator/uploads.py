"""files.create with content: in one multipart request, or resumable in chunks.

Source: https://developers.google.com/workspace/drive/api/guides/manage-uploads
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections import defaultdict
from email.message import Message
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from drive_emulator.errors import AbortedError, DriveError, invalid
from drive_emulator.faults import Fault
from drive_emulator.files import answer, drop_parents, json_body
from drive_emulator.parameters import Parameters
from drive_emulator.storage import ON_CREATE, Storage, checked
from drive_emulator.tokens import Caller, Tokens

STEP = 256 * 1024  # a chunk that is not the last has a multiple of this many bytes
MULTIPART_LIMIT = 5 * 1024 * 1024
CREATING = ("supportsAllDrives", "uploadType", "keepRevisionForever", "upload_id")

_RANGE = re.compile(r"(?:bytes )?(?:(\d+)-(\d+)|\*)/(\d+|\*)")


class Uploads:
    """The two ways to bring a file."""

    def __init__(self, storage: Storage, tokens: Tokens, url: str, session_ttl_s: float) -> None:
        self._storage = storage
        self._tokens = tokens
        self._url = url
        self._session_ttl_s = session_ttl_s
        # One request of a session at a time: a broken one ends before its bytes are counted.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def create(self, request: Request, caller: Caller) -> Response:
        """Answer ``POST /upload/drive/v3/files``."""
        parameters = Parameters(request, *CREATING)
        match parameters.text("uploadType"):
            case "resumable":
                return await self._begin(request, caller, parameters)
            case "multipart":
                return await self._multipart(request, caller, parameters)
        raise invalid("Invalid value for uploadType: multipart or resumable")

    # Multipart

    async def _multipart(
        self, request: Request, caller: Caller, parameters: Parameters
    ) -> Response:
        body = await request.body()
        if len(body) > MULTIPART_LIMIT:
            raise DriveError(413, "uploadTooLarge", "Use a resumable upload above 5 MB.")
        metadata, media_type, content = _parts(request.headers.get("content-type", ""), body)
        drop_parents(self._storage, request, metadata, caller)
        checked(metadata, ON_CREATE).setdefault("mimeType", media_type)
        file = self._storage.prepare(
            metadata, caller, len(content), all_drives=parameters.flag("supportsAllDrives")
        )
        path = self._storage.uploads / secrets.token_hex(16)
        path.write_bytes(_corrupted(request, content))
        return answer(parameters, self._storage.add(file, path))

    # Resumable

    async def _begin(self, request: Request, caller: Caller, parameters: Parameters) -> Response:
        metadata = await json_body(request)
        drop_parents(self._storage, request, metadata, caller)
        checked(metadata, ON_CREATE)
        media_type = request.headers.get("x-upload-content-type", "application/octet-stream")
        metadata.setdefault("mimeType", media_type)
        length = request.headers.get("x-upload-content-length")
        if length is not None and not length.isdecimal():
            raise invalid("Invalid X-Upload-Content-Length")
        self._storage.prepare(
            metadata,
            caller,
            int(length or 0),
            all_drives=parameters.flag("supportsAllDrives"),
        )
        answer(parameters, {})  # an unknown field is refused now
        session_id = secrets.token_urlsafe(48)
        self._save(
            session_id,
            {
                "metadata": metadata, "email": caller.email,
                "until": time.time() + self._session_ttl_s, "service": caller.is_service_account,
                "scopes": sorted(caller.scopes),
                "total": int(length) if length else None, "file_id": None,
                "all_drives": parameters.flag("supportsAllDrives"),
            },
        )  # fmt: skip
        self._path(session_id).touch()
        place = f"{self._url}{request.url.path}?{request.url.query}&upload_id={session_id}"
        return Response(headers={"Location": place, "X-GUploader-UploadID": session_id})

    async def chunk(self, request: Request) -> Response:
        """Answer ``PUT`` to a session: a chunk, or the question how much is there."""
        parameters = Parameters(request, *CREATING)
        session_id = parameters.text("upload_id")
        if "authorization" in request.headers:  # the address alone is enough, a bad token is not
            self._tokens.caller(request)
        async with self._locks[session_id]:
            session = self._load(session_id, request)
            return await self._receive(request, parameters, session_id, session)

    async def _receive(
        self, request: Request, parameters: Parameters, session_id: str, session: dict[str, Any]
    ) -> Response:
        path, caller = self._path(session_id), _caller(session)
        if session["file_id"]:  # finished before: the same answer again
            async for _ in request.stream():
                pass
            file = self._storage.get(session["file_id"], caller, all_drives=True)
            return answer(parameters, self._storage.shown(file))
        there = path.stat().st_size
        first, last, total = self._asked(request, session)
        if total is not None:
            session["total"] = total
            self._save(session_id, session)
        if first is not None and last is not None:
            if first != there:
                raise invalid(f"The chunk begins at {first}, {there} bytes are here")
            length = last - first + 1
            if request.headers.get("content-length") != str(length):
                raise invalid("Content-Length and Content-Range differ")
            is_last = total is not None and last + 1 == total
            if not is_last and length % STEP:
                raise invalid(f"A chunk that is not the last has a multiple of {STEP} bytes")
            there = await self._append(request, path, there, length)
        elif request.headers.get("content-length", "0") != "0":
            raise invalid("A question for the state has no body")
        if session["total"] is None or there < session["total"]:
            headers = {"Range": f"bytes=0-{there - 1}"} if there else {}
            return Response(status_code=308, headers=headers)
        file = self._storage.prepare(
            session["metadata"], caller, there, all_drives=session["all_drives"]
        )
        shown = self._storage.add(file, path)
        session["file_id"] = file["id"]
        self._save(session_id, session)
        return answer(parameters, shown)

    @staticmethod
    def _asked(
        request: Request, session: dict[str, Any]
    ) -> tuple[int | None, int | None, int | None]:
        header = request.headers.get("content-range")
        if header is None:  # all of it at once
            length = request.headers.get("content-length", "")
            if not length.isdecimal():
                raise invalid("Content-Length is missing")
            return 0, int(length) - 1, int(length)
        match = _RANGE.fullmatch(header)
        if not match:
            raise invalid("Invalid Content-Range")
        total = None if match[3] == "*" else int(match[3])
        if total is not None and session["total"] not in {None, total}:
            raise invalid("The total size changed")
        if match[1] is None:
            return None, None, total
        first, last = int(match[1]), int(match[2])
        if last < first or (total is not None and last >= total):
            raise invalid("Invalid Content-Range")
        return first, last, total

    async def _append(self, request: Request, path: Path, there: int, length: int) -> int:
        """Write the body; when it breaks off, whole steps of it are kept, as Drive does."""
        fault: Fault | None = request.state.fault
        limit = length
        if fault and fault.kind == "partial":
            limit = fault.keep_bytes // STEP * STEP
        received = 0
        with path.open("r+b") as file:
            file.seek(there)
            try:
                async for block in request.stream():
                    if fault and fault.kind == "corrupt" and not received and block:
                        block = bytes([block[0] ^ 1]) + block[1:]
                    if received < limit:
                        file.write(block[: limit - received])
                    received += len(block)
                    if fault and fault.kind == "reset" and received > fault.after_bytes:
                        request.state.abort()
                        raise AbortedError
            except (ClientDisconnect, AbortedError):
                file.truncate(there + min(received, limit) // STEP * STEP)
                raise
        return there + min(received, limit)

    def _path(self, session_id: str) -> Path:
        return self._storage.uploads / session_id

    def _save(self, session_id: str, session: dict[str, Any]) -> None:
        self._storage.database.execute(
            "INSERT INTO sessions VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET content = excluded.content",
            (session_id, json.dumps(session)),
        )

    def _load(self, session_id: str, request: Request) -> dict[str, Any]:
        row = self._storage.database.execute(
            "SELECT content FROM sessions WHERE id = ?", (session_id,)
        ).fetchone()
        session: dict[str, Any] | None = json.loads(row[0]) if row else None
        fault: Fault | None = request.state.fault
        gone = bool(fault and fault.kind == "expire_session")
        if session is None or session["until"] < time.time() or gone:
            self._storage.database.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
            if session is not None:
                self._path(session_id).unlink(missing_ok=True)
            raise DriveError(404, "notFound", "The upload session is unknown or expired.")
        return session


def _caller(session: dict[str, Any]) -> Caller:
    return Caller(session["email"], session["service"], frozenset(session["scopes"]))


def _corrupted(request: Request, content: bytes) -> bytes:
    fault: Fault | None = request.state.fault
    if fault and fault.kind == "corrupt" and content:
        return bytes([content[0] ^ 1]) + content[1:]
    return content


def _parts(content_type: str, body: bytes) -> tuple[Any, str, bytes]:
    """Return the metadata, the type and the bytes of a ``multipart/related`` body (RFC 2387)."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if header.get_content_type() != "multipart/related" or not isinstance(boundary, str):
        raise invalid("Content-Type must be multipart/related with a boundary")
    mark = b"--" + boundary.encode()
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(pieces) != 4 or pieces[3].strip() != b"--":
        raise invalid("Two parts are expected")
    parts = []
    for piece in pieces[1:3]:
        head, separator, content = piece.partition(b"\r\n\r\n")
        if not separator:
            raise invalid("A part has no headers")
        fields = Message()
        for line in head.decode("latin-1").strip().splitlines():
            name, _, value = line.partition(":")
            fields[name.strip()] = value.strip()
        parts.append((fields.get_content_type(), content))
    if parts[0][0] != "application/json":
        raise invalid("The first part must be application/json")
    try:
        return json.loads(parts[0][1]), parts[1][0], parts[1][1]
    except ValueError:
        raise invalid("Parse Error") from None
