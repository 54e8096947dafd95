"""files.create without content, get, list, update, delete and generateIds; about and drives."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from operator import itemgetter
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from drive_emulator import fields
from drive_emulator.errors import AbortedError, DriveError, invalid
from drive_emulator.faults import Fault
from drive_emulator.parameters import Parameters
from drive_emulator.query import compile_query
from drive_emulator.storage import BLOCK, FOLDER, File, Storage
from drive_emulator.tokens import Caller

ORDERS = frozenset({"createdTime", "modifiedTime", "name", "folder"})


async def json_body(request: Request) -> Any:
    """Return the request's JSON; nothing is an empty object."""
    body = await request.body()
    if not body:
        return {}
    if request.headers.get("content-type", "").split(";")[0] != "application/json":
        raise invalid("Content-Type must be application/json")
    try:
        return await request.json()
    except ValueError:
        raise invalid("Parse Error") from None


def answer(parameters: Parameters, file: File, status: int = 200) -> JSONResponse:
    """Answer with the wanted fields of a file."""
    wanted = parameters.text("fields")
    mask = fields.parse(wanted, fields.FILE) if wanted else fields.DEFAULT_FILE
    return JSONResponse(fields.apply(file, mask), status)


class Files:
    """The calls. Each gets who calls, and the fault planned for it."""

    def __init__(self, storage: Storage, drives: dict[str, str]) -> None:
        self._storage = storage
        self._drives = drives

    async def create(self, request: Request, caller: Caller) -> Response:
        """Create a folder, or an empty file."""
        parameters = Parameters(request, "supportsAllDrives")
        metadata = await json_body(request)
        drop_parents(self._storage, request, metadata, caller)
        file = self._storage.prepare(
            metadata, caller, 0, all_drives=parameters.flag("supportsAllDrives")
        )
        return answer(parameters, self._storage.add(file, None))

    async def get(self, request: Request, caller: Caller) -> Response:
        """Answer a file's metadata, or its content."""
        parameters = Parameters(request, "supportsAllDrives", "acknowledgeAbuse")
        file = self._storage.get(
            request.path_params["file_id"],
            caller,
            all_drives=parameters.flag("supportsAllDrives"),
        )
        if parameters.text("alt") == "media":
            if file["mimeType"] == FOLDER or "size" not in file:
                raise DriveError(
                    403,
                    "fileNotDownloadable",
                    "Only files with binary content can be downloaded.",
                )
            return self.content(request, file)
        return answer(parameters, self._storage.shown(file))

    def content(self, request: Request, file: File) -> Response:
        """Answer the bytes, or the range that is asked for."""
        size = int(file["size"])
        first, last, status = 0, size - 1, 200
        headers = {"Accept-Ranges": "bytes"}
        if asked := request.headers.get("range"):
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
            if not match:
                raise invalid("Only one range, with a beginning, is understood")
            first = int(match[1])
            last = min(int(match[2]) if match[2] else last, last)
            if first > last:
                return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            status = 206
        headers["Content-Length"] = str(last - first + 1)
        body = self._blocks(request, file, first, last)
        return StreamingResponse(body, status, headers, media_type=file["mimeType"])

    async def _blocks(
        self, request: Request, file: File, first: int, last: int
    ) -> AsyncIterator[bytes]:
        fault: Fault | None = request.state.fault
        sent = 0
        with self._storage.content_path(file).open("rb") as content:
            content.seek(first)
            while sent < last - first + 1:
                block = content.read(min(BLOCK, last - first + 1 - sent))
                if fault and fault.kind == "corrupt" and sent == 0:
                    block = bytes([block[0] ^ 1]) + block[1:]
                if fault and fault.kind == "reset" and sent + len(block) > fault.after_bytes:
                    yield block[: fault.after_bytes - sent]
                    request.state.abort()
                    raise AbortedError
                sent += len(block)
                yield block

    async def list(self, request: Request, caller: Caller) -> Response:
        """Answer the files that match, a page at a time."""
        parameters = Parameters(
            request, "q", "pageSize", "pageToken", "orderBy", "spaces", "corpora", "driveId",
            "supportsAllDrives", "includeItemsFromAllDrives",
        )  # fmt: skip
        all_drives = parameters.flag("supportsAllDrives")
        include = parameters.flag("includeItemsFromAllDrives")
        corpora, drive_id = parameters.text("corpora", "user"), parameters.text("driveId")
        if parameters.text("spaces", "drive") != "drive":
            raise invalid("Only the space drive is known")
        if corpora not in {"user", "drive", "allDrives"}:
            raise invalid("Invalid value for corpora")
        if (corpora == "drive") != bool(drive_id):
            raise invalid("driveId is given if, and only if, corpora is drive")
        if (include or corpora != "user") and not all_drives:
            raise invalid("includeItemsFromAllDrives and corpora need supportsAllDrives=true")
        if corpora != "user" and not include:
            raise invalid("corpora needs includeItemsFromAllDrives=true")
        if drive_id and drive_id not in self._drives:
            raise DriveError(404, "notFound", f"Shared drive not found: {drive_id}")
        matches = (
            compile_query(parameters.text("q"), caller.root_id) if parameters.text("q") else None
        )
        found = [
            file
            for file in self._storage.visible(caller, all_drives=include)
            if (not drive_id or file.get("driveId") == drive_id)
            and (matches is None or matches(file))
        ]
        _sort(found, parameters.text("orderBy"))
        size = parameters.number("pageSize", 100, 1, 1000)
        begin = _page_begin(parameters.text("pageToken"))
        body: dict[str, Any] = {
            "kind": "drive#fileList",
            "incompleteSearch": False,
            "files": found[begin : begin + size],
        }
        if begin + size < len(found):
            body["nextPageToken"] = base64.urlsafe_b64encode(b"at:%d" % (begin + size)).decode()
        default = fields.FILE_LIST | {"files": fields.DEFAULT_FILE}
        wanted = parameters.text("fields")
        mask = fields.parse(wanted, fields.FILE_LIST) if wanted else default
        return JSONResponse(fields.apply(body, mask))

    async def update(self, request: Request, caller: Caller) -> Response:
        """Change metadata, the folder, or whether it is in the trash."""
        parameters = Parameters(request, "supportsAllDrives", "addParents", "removeParents")
        all_drives = parameters.flag("supportsAllDrives")
        file_id = request.path_params["file_id"]
        file = self._storage.get(file_id, caller, all_drives=all_drives)
        self._refuse_root(file, caller)
        add, remove = parameters.text("addParents"), parameters.text("removeParents")
        parent = None
        if remove and remove not in file["parents"]:
            raise invalid("removeParents is not the file's folder")
        if bool(add) != bool(remove):
            raise DriveError(
                403, "cannotAddParent", "A file has one folder: give addParents and removeParents."
            )
        if add:
            parent = self._storage.get(add, caller, all_drives=all_drives)
            if parent["mimeType"] != FOLDER or parent["owner"] != file["owner"]:
                raise invalid("addParents must be a folder of the same drive")
        changes = await json_body(request)
        return answer(parameters, self._storage.update(file, changes, parent))

    async def delete(self, request: Request, caller: Caller) -> Response:
        """Delete for good."""
        parameters = Parameters(request, "supportsAllDrives")
        file = self._storage.get(
            request.path_params["file_id"],
            caller,
            all_drives=parameters.flag("supportsAllDrives"),
        )
        self._refuse_root(file, caller)
        self._storage.delete(file)
        return Response(status_code=204)

    def _refuse_root(self, file: File, caller: Caller) -> None:
        if self._storage.root(file["id"], caller):
            raise DriveError(
                403, "insufficientFilePermissions", "The root folder cannot be changed."
            )

    async def generate_ids(self, request: Request, _caller: Caller) -> Response:
        """Answer ids for files to be created."""
        parameters = Parameters(request, "count", "space", "type")
        if parameters.text("space", "drive") != "drive":
            raise invalid("Only the space drive is known")
        if parameters.text("type", "files") != "files":
            raise invalid("Only the type files is known")
        ids = self._storage.generate_ids(parameters.number("count", 10, 1, 1000))
        body = {"kind": "drive#generatedIds", "space": "drive", "ids": ids}
        wanted = parameters.text("fields")
        return JSONResponse(fields.apply(body, fields.parse(wanted, fields.IDS) if wanted else {}))

    async def about(self, request: Request, caller: Caller) -> Response:
        """Answer who is logged in, and how much space they have."""
        parameters = Parameters(request)
        if not parameters.text("fields"):
            raise DriveError(400, "required", "The 'fields' parameter is required for this method.")
        used = str(self._storage.used(caller.email))
        body = {
            "kind": "drive#about",
            "user": {
                "kind": "drive#user", "displayName": caller.email, "me": True,
                "emailAddress": caller.email,
            },
            "storageQuota": {
                "limit": str(self._storage.limit(caller.email)),
                "usage": used,
                "usageInDrive": used,
                "usageInDriveTrash": str(self._storage.trashed(caller.email)),
            },
            "maxUploadSize": str(5 * 1024**4),
        }  # fmt: skip
        return JSONResponse(
            fields.apply(body, fields.parse(parameters.text("fields"), fields.ABOUT))
        )

    async def drives(self, request: Request, _caller: Caller) -> Response:
        """Answer the shared drives."""
        parameters = Parameters(request, "pageSize")
        parameters.number("pageSize", 10, 1, 100)
        body = {
            "kind": "drive#driveList",
            "drives": [self._drive(drive_id) for drive_id in self._drives],
        }
        wanted = parameters.text("fields")
        mask = fields.parse(wanted, fields.DRIVE_LIST) if wanted else {}
        return JSONResponse(fields.apply(body, mask))

    async def drive(self, request: Request, _caller: Caller) -> Response:
        """Answer one shared drive."""
        parameters = Parameters(request)
        drive_id = request.path_params["drive_id"]
        if drive_id not in self._drives:
            raise DriveError(404, "notFound", f"Shared drive not found: {drive_id}")
        wanted = parameters.text("fields")
        mask = fields.parse(wanted, fields.DRIVE) if wanted else {}
        return JSONResponse(fields.apply(self._drive(drive_id), mask))

    def _drive(self, drive_id: str) -> dict[str, str]:
        return {"kind": "drive#drive", "id": drive_id, "name": self._drives[drive_id]}


def drop_parents(storage: Storage, request: Request, metadata: Any, caller: Caller) -> None:
    """Carry out the fault ``folder_gone``: somebody deletes the folder just now."""
    fault: Fault | None = request.state.fault
    if fault and fault.kind == "folder_gone" and isinstance(metadata, dict):
        for parent in metadata.get("parents", []):
            storage.delete(storage.get(parent, caller, all_drives=True))


def _sort(found: list[File], order: str) -> None:
    for part in reversed([part for part in order.split(",") if part]):
        name, _, direction = part.strip().partition(" ")
        if name not in ORDERS or direction not in {"", "desc"}:
            raise invalid("Invalid value for orderBy")
        if name == "folder":
            found.sort(key=lambda file: file["mimeType"] != FOLDER, reverse=bool(direction))
        else:
            found.sort(key=itemgetter(name), reverse=bool(direction))


def _page_begin(token: str) -> int:
    if not token:
        return 0
    try:
        match = re.fullmatch(rb"at:(\d+)", base64.urlsafe_b64decode(token))
    except ValueError:
        match = None
    if not match:
        raise invalid("Invalid value for pageToken")
    return int(match[1])
