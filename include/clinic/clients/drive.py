"""Google Drive as a document store: ``<root>/<year>/<month>/<type>/<file>``.

What it does so that a repeat stores nothing twice: the file is created under an id that Drive gave
out beforehand (``files.generateIds``), so that a second create answers 409, and the file carries
its document's id and revision in ``appProperties``, by which it is found when that id is spent.

Source: https://developers.google.com/workspace/drive/api/reference/rest/v3/files
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from clinic.clients.drive_upload import (
    ConflictError,
    DriveApi,
    Json,
    MissingError,
    NeedsPersonError,
    Patience,
    ResumableUpload,
    Resume,
)
from clinic.documents.reasons import ParkReason
from clinic.documents.store import Stored, Upload
from clinic.errors import ParkError, PermanentError, TransientError

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession

log = logging.getLogger(__name__)

GOOGLE = "https://www.googleapis.com"
FOLDER = "application/vnd.google-apps.folder"
FILE_FIELDS = "id,name,size,md5Checksum,sha256Checksum,trashed,parents,webViewLink,appProperties"


class DriveStore:
    """Stores documents in one account's Drive, or in a shared drive. Two threads may share it.

    Args:
        session: An authorised session.
        root_folder: The folder below which everything goes, ``Clinica/Documentos``; made if needed.
        drive_id: The shared drive; None is the account's own.
        endpoint: The API's address.
        patience_s: How long one document may wait for Drive before it is left for later.
        chunk_bytes: How much is sent, and held in memory, at once.
        sleep: What waits; for tests.
    """

    name = "drive"

    def __init__(
        self,
        session: AuthorizedSession,
        root_folder: str,
        *,
        drive_id: str | None = None,
        endpoint: str = GOOGLE,
        patience_s: float = 60,
        chunk_bytes: int = 8 * 1024**2,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = DriveApi(session, endpoint)
        self._root_folders = tuple(part for part in root_folder.split("/") if part)
        self._drive_id = drive_id
        self._patience_s = patience_s
        self._chunk_bytes = chunk_bytes
        self._sleep = sleep
        self._folder_ids: dict[tuple[str, ...], str] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of the connections."""
        self._api.close()

    def reserve(self) -> str:
        """Return an id to create one file with."""
        return self._new_id(self._patience())

    def put(self, upload: Upload, resume: Resume | None = None) -> Stored:
        """Store a document; a repeat finds it.

        Args:
            upload: The document. Without a ``reserved_id`` it is still found by its properties.
            resume: Where a broken upload stood, kept up to date for a later process.

        Raises:
            TransientError: Drive, its folders or its space failed for now.
            ParkError: Another file is in its place, or Drive does not take the request.
        """
        try:
            return self._put(upload, self._patience(), resume)
        except ParkError:
            raise
        except PermanentError as error:
            raise ParkError(ParkReason.STORE_REFUSED, str(error)) from error

    def _put(self, upload: Upload, patience: Patience, resume: Resume | None) -> Stored:
        file_id = upload.reserved_id
        if file_id is None:
            if found := self._find(upload, patience):
                return self._as_stored(upload, found, created=False)
            file_id = self._new_id(patience)
        trouble = ""
        for _ in range(3):
            try:
                return self._create(upload, file_id, patience, resume)
            except ConflictError:
                found = self._get(file_id, patience)
                if found and not found["trashed"]:
                    return self._as_stored(upload, found, created=False)
                # A person deleted it, or we did because it was damaged: the id is spent.
                if found := self._find(upload, patience):
                    return self._as_stored(upload, found, created=False)
                file_id = self._new_id(patience)
            except MissingError as error:
                trouble = str(error)
                self._forget(upload)
                patience.pause(error)
            if resume is not None:
                resume.session_uri, resume.sent_bytes = None, 0
        raise TransientError(
            f"Storing {upload.stored_name} in Drive: the place for it is not there, or disappears "
            f"again and again. {trouble}"
        )

    def check(self) -> str:
        """Log in; say who and where, or what is missing.

        Raises:
            TransientError: There is no token, no space, no shared drive.
        """
        fields = "user(emailAddress),storageQuota(limit,usage)"
        about = self._api.call(
            "Logging in to Drive", "GET", "/drive/v3/about", params={"fields": fields}
        )
        who = about["user"]["emailAddress"]
        folder = "/".join(self._root_folders) or "the root folder"
        if self._drive_id:
            drive = self._api.call(
                f"Opening shared drive {self._drive_id} as {who}",
                "GET",
                f"/drive/v3/drives/{self._drive_id}",
                params={"fields": "name"},
            )
            return f"Logged in as {who}; files go to {folder} in shared drive {drive['name']!r}"
        quota = about["storageQuota"]
        if quota.get("limit") == "0":
            raise NeedsPersonError(
                f"Logged in to Drive as {who}, which has no space of its own: a service account "
                "needs a shared drive (drive_id) or a person (delegate) in the connection."
            )
        if "limit" in quota and int(quota["usage"]) >= int(quota["limit"]):
            raise NeedsPersonError(f"Logged in to Drive as {who}, whose space is full.")
        return f"Logged in as {who}; files go to {folder} in their My Drive"

    # One file

    def _create(
        self, upload: Upload, file_id: str, patience: Patience, resume: Resume | None
    ) -> Stored:
        metadata: Json = {
            "id": file_id,
            "name": upload.stored_name,
            "mimeType": upload.content_type,
            "parents": [self._folder((*self._root_folders, *upload.folders), patience)],
            "appProperties": _properties(upload),
        }
        transfer = ResumableUpload(self._api, upload.path, chunk_bytes=self._chunk_bytes)
        answer = transfer.run(metadata, patience, fields=FILE_FIELDS, resume=resume)
        if not _is_equal(upload, answer):
            self._trash(answer["id"], patience)
            raise TransientError(
                f"Storing {upload.stored_name} in Drive: what arrived is not what was sent "
                "(checksum). It is in Drive's trash now, and is sent again."
            )
        if answer["trashed"]:  # the folder is in the trash, and what goes into it with it
            answer = self._move_out_of_trash(upload, answer, patience)
        return self._as_stored(upload, answer, created=True)

    def _move_out_of_trash(self, upload: Upload, file: Json, patience: Patience) -> Json:
        self._forget(upload)
        folder_id = self._folder((*self._root_folders, *upload.folders), patience)
        return self._api.patiently(
            patience,
            f"Moving {upload.stored_name} out of a folder in Drive's trash",
            "PATCH",
            f"/drive/v3/files/{file['id']}",
            params={
                "supportsAllDrives": "true",
                "fields": FILE_FIELDS,
                "addParents": folder_id,
                "removeParents": file["parents"][0],
            },
        )

    def _as_stored(self, upload: Upload, file: Json, *, created: bool) -> Stored:
        if not _is_equal(upload, file):
            raise ParkError(
                ParkReason.STORE_REFUSED,
                f"Storing {upload.stored_name} in Drive: file {file['id']} is in its place, with "
                "other content. Nothing was overwritten: look at both, and remove the wrong one.",
            )
        return Stored(
            store=self.name,
            file_id=file["id"],
            url=file["webViewLink"],
            size_bytes=int(file["size"]),
            sha256=upload.sha256,
            created=created,
        )

    def _get(self, file_id: str, patience: Patience) -> Json | None:
        try:
            return self._api.patiently(
                patience,
                "Looking at a file in Drive",
                "GET",
                f"/drive/v3/files/{file_id}",
                params={"supportsAllDrives": "true", "fields": FILE_FIELDS},
            )
        except MissingError:
            return None

    def _find(self, upload: Upload, patience: Patience) -> Json | None:
        """Return the document's file by its properties; the oldest, should there be several."""
        query = " and ".join(
            f"appProperties has {{ key={_quoted(key)} and value={_quoted(value)} }}"
            for key, value in _properties(upload).items()
            if key != "clinic_sha256"
        )
        found = self._list(f"{query} and trashed = false", FILE_FIELDS, patience)
        return found[0] if found else None

    def _trash(self, file_id: str, patience: Patience) -> None:
        self._api.patiently(
            patience,
            "Putting a damaged file into Drive's trash",
            "PATCH",
            f"/drive/v3/files/{file_id}",
            params={"supportsAllDrives": "true", "fields": "id"},
            json={"trashed": True},
        )

    def _new_id(self, patience: Patience) -> str:
        answer = self._api.patiently(
            patience,
            "Reserving an id in Drive",
            "GET",
            "/drive/v3/files/generateIds",
            params={"count": 1, "space": "drive", "type": "files", "fields": "ids"},
        )
        return str(answer["ids"][0])

    # Folders

    def _folder(self, path: tuple[str, ...], patience: Patience) -> str:
        """Return the id of a folder, which is made if it is not there."""
        if not path:
            return self._drive_id or "root"
        with self._lock:  # of two threads one makes it
            return self._folder_locked(path, patience)

    def _folder_locked(self, path: tuple[str, ...], patience: Patience) -> str:
        if not path:
            return self._drive_id or "root"
        if known := self._folder_ids.get(path):
            return known
        parent_id = self._folder_locked(path[:-1], patience)
        folder_id = self._oldest_folder(path[-1], parent_id, patience)
        if folder_id is None:
            mine = self._make_folder(path[-1], parent_id, patience)
            # Another process may have made one meanwhile: both see both, and keep the oldest.
            folder_id = self._oldest_folder(path[-1], parent_id, patience) or mine
            if folder_id != mine:
                self._remove_empty_folder(mine, patience)
        self._folder_ids[path] = folder_id
        return folder_id

    def _oldest_folder(self, name: str, parent_id: str, patience: Patience) -> str | None:
        query = (
            f"name = {_quoted(name)} and mimeType = '{FOLDER}' "
            f"and {_quoted(parent_id)} in parents and trashed = false"
        )
        found = self._list(query, "id,name,createdTime", patience)
        exact = [one for one in found if one["name"] == name]  # Drive's = does not mind case
        exact.sort(key=lambda one: (one["createdTime"], one["id"]))
        return str(exact[0]["id"]) if exact else None

    def _make_folder(self, name: str, parent_id: str, patience: Patience) -> str:
        folder_id = self._new_id(patience)
        with contextlib.suppress(ConflictError):  # the reply to an earlier try was lost
            self._api.patiently(
                patience,
                f"Making the folder {name} in Drive",
                "POST",
                "/drive/v3/files",
                params={"supportsAllDrives": "true", "fields": "id"},
                json={"id": folder_id, "name": name, "mimeType": FOLDER, "parents": [parent_id]},
            )
        return folder_id

    def _remove_empty_folder(self, folder_id: str, patience: Patience) -> None:
        """Put a folder of ours that lost the race into the trash; nobody but us knew its id."""
        if self._list(f"{_quoted(folder_id)} in parents", "id", patience):
            return
        self._trash(folder_id, patience)

    def _forget(self, upload: Upload) -> None:
        """Look all folders of this document up anew: somebody deleted one."""
        with self._lock:
            path = (*self._root_folders, *upload.folders)
            for length in range(1, len(path) + 1):
                self._folder_ids.pop(path[:length], None)

    def _list(self, query: str, fields: str, patience: Patience) -> list[Json]:
        parameters = {
            "q": query,
            "fields": f"nextPageToken,files({fields})",
            "orderBy": "createdTime",
            "pageSize": "100",
            "spaces": "drive",
            "supportsAllDrives": "true",
            "includeItemsFromAllDrives": "true",
        }
        if self._drive_id:
            parameters |= {"corpora": "drive", "driveId": self._drive_id}
        found: list[Json] = []
        while True:
            answer = self._api.patiently(
                patience, "Searching in Drive", "GET", "/drive/v3/files", params=parameters
            )
            found += answer["files"]
            if not (token := answer.get("nextPageToken")):
                return found
            parameters["pageToken"] = token

    def _patience(self) -> Patience:
        return Patience(self._patience_s, self._sleep)


def _properties(upload: Upload) -> dict[str, str]:
    return {
        "clinic_document": upload.document_id,
        "clinic_revision": str(upload.revision),
        "clinic_sha256": upload.sha256,
    }


def _is_equal(upload: Upload, file: Json) -> bool:
    """Whether Drive has these bytes. Drive may leave sha256 out; md5 is always there."""
    if file.get("size") != str(upload.size_bytes):
        return False
    if "sha256Checksum" in file:
        return bool(file["sha256Checksum"] == upload.sha256)
    if "md5Checksum" not in file:
        return False
    with upload.path.open("rb") as content:
        digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
    return bool(file["md5Checksum"] == digest.hexdigest())


def _quoted(value: str) -> str:
    r"""Return a string of Drive's query language: \ and ' are escaped."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
