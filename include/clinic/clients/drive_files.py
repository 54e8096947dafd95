"""Files and folders in Drive: found, made, looked at, put into the trash.

Used by :mod:`clinic.clients.drive` for documents and :mod:`clinic.clients.drive_vault` for backups.

Source: https://developers.google.com/workspace/drive/api/reference/rest/v3/files
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from clinic.clients.drive_upload import (
    ConflictError,
    DriveApi,
    Json,
    MissingError,
    NeedsPersonError,
    Patience,
)
from clinic.documents.reasons import WaitReason

GOOGLE: Final = "https://www.googleapis.com"
FOLDER: Final = "application/vnd.google-apps.folder"
FILE_FIELDS: Final = (
    "id,name,size,md5Checksum,sha256Checksum,trashed,parents,webViewLink,appProperties,createdTime"
)

type Folders = tuple[str, ...]


class DriveFiles:
    """The files of one account's Drive, or of a shared drive. Two threads may share it.

    Args:
        api: Where.
        root_folder: The folder below which everything goes, ``Clinica/Documentos``.
        drive_id: The shared drive; None is the account's own.
    """

    def __init__(self, api: DriveApi, root_folder: str, drive_id: str | None) -> None:
        self._api = api
        self.root = tuple(part for part in root_folder.split("/") if part)
        self.drive_id = drive_id
        self._folder_ids: dict[Folders, str] = {}
        self._lock = threading.Lock()

    # Files

    def new_id(self, patience: Patience) -> str:
        """Return an id to create one file with, so that a second create answers 409."""
        answer = self._api.patiently(
            patience,
            "Reserving an id in Drive",
            "GET",
            "/drive/v3/files/generateIds",
            params={"count": 1, "space": "drive", "type": "files", "fields": "ids"},
        )
        return str(answer["ids"][0])

    def get(self, file_id: str, patience: Patience) -> Json | None:
        """Return a file, be it in the trash; None where it is gone."""
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

    def trash(self, file_id: str, patience: Patience, what: str) -> None:
        """Put a file into the trash; one that is there already stays there.

        Raises:
            MissingError: It is gone.
        """
        self._api.patiently(
            patience,
            f"Putting {what} into Drive's trash",
            "PATCH",
            f"/drive/v3/files/{file_id}",
            params={"supportsAllDrives": "true", "fields": "id"},
            json={"trashed": True},
        )

    def find(self, query: str, fields: str, patience: Patience) -> list[Json]:
        """Return all files that a query finds, the oldest first."""
        parameters = {
            "q": query,
            "fields": f"nextPageToken,files({fields})",
            "orderBy": "createdTime",
            "pageSize": "100",
            "spaces": "drive",
            "supportsAllDrives": "true",
            "includeItemsFromAllDrives": "true",
        }
        if self.drive_id:
            parameters |= {"corpora": "drive", "driveId": self.drive_id}
        found: list[Json] = []
        while True:
            answer = self._api.patiently(
                patience, "Searching in Drive", "GET", "/drive/v3/files", params=parameters
            )
            found += answer["files"]
            if not (token := answer.get("nextPageToken")):
                return found
            parameters["pageToken"] = token

    def move(self, file: Json, folders: Sequence[str], patience: Patience) -> Json:
        """Move a file to a folder below the root; return it as it is then."""
        return self._api.patiently(
            patience,
            f"Moving {file['name']} out of a folder in Drive's trash",
            "PATCH",
            f"/drive/v3/files/{file['id']}",
            params={
                "supportsAllDrives": "true",
                "fields": FILE_FIELDS,
                "addParents": self.folder(folders, patience),
                "removeParents": file["parents"][0],
            },
        )

    # Folders

    def folder(self, folders: Sequence[str], patience: Patience) -> str:
        """Return the id of a folder below the root, which is made if it is not there."""
        with self._lock:  # of two threads one makes it
            return self._folder((*self.root, *folders), patience)

    def find_folder(self, patience: Patience) -> str | None:
        """Return the root folder's id; None where it was not made yet."""
        folder_id = self.drive_id or "root"
        for name in self.root:
            found = self._oldest_folder(name, folder_id, patience)
            if found is None:
                return None
            folder_id = found
        return folder_id

    def forget(self, folders: Sequence[str]) -> None:
        """Look a folder and those around it up anew: somebody deleted one."""
        with self._lock:
            path = (*self.root, *folders)
            for length in range(1, len(path) + 1):
                self._folder_ids.pop(path[:length], None)

    def _folder(self, path: Folders, patience: Patience) -> str:
        if not path:
            return self.drive_id or "root"
        if known := self._folder_ids.get(path):
            return known
        parent_id = self._folder(path[:-1], patience)
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
            f"name = {quoted(name)} and mimeType = '{FOLDER}' "
            f"and {quoted(parent_id)} in parents and trashed = false"
        )
        found = self.find(query, "id,name,createdTime", patience)
        exact = [one for one in found if one["name"] == name]  # Drive's = does not mind case
        exact.sort(key=lambda one: (one["createdTime"], one["id"]))
        return str(exact[0]["id"]) if exact else None

    def _make_folder(self, name: str, parent_id: str, patience: Patience) -> str:
        folder_id = self.new_id(patience)
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
        if self.find(f"{quoted(folder_id)} in parents", "id", patience):
            return
        self.trash(folder_id, patience, "a folder made twice")

    # The whole

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
        folder = "/".join(self.root) or "the root folder"
        if self.drive_id:
            drive = self._api.call(
                f"Opening shared drive {self.drive_id} as {who}",
                "GET",
                f"/drive/v3/drives/{self.drive_id}",
                params={"fields": "name"},
            )
            return f"Logged in as {who}; files go to {folder} in shared drive {drive['name']!r}"
        quota = about["storageQuota"]
        if quota.get("limit") == "0":
            raise NeedsPersonError(
                WaitReason.STORE_FULL,
                f"Logged in to Drive as {who}, which has no space of its own: a service account "
                "needs a shared drive (drive_id) or a person (delegate) in the connection.",
            )
        if "limit" in quota and int(quota["usage"]) >= int(quota["limit"]):
            raise NeedsPersonError(
                WaitReason.STORE_FULL,
                f"Logged in to Drive as {who}, whose space is full: empty the trash or buy space.",
            )
        return f"Logged in as {who}; files go to {folder} in their My Drive"


def has_properties(properties: Mapping[str, str]) -> str:
    """Return the query for files that carry all of these properties of this application."""
    return " and ".join(
        f"appProperties has {{ key={quoted(key)} and value={quoted(value)} }}"
        for key, value in properties.items()
    )


def is_equal(file: Json, path: Path, size_bytes: int, sha256: str) -> bool:
    """Whether Drive has these bytes. Drive may leave sha256 out; md5 is always there."""
    if file.get("size") != str(size_bytes):
        return False
    if "sha256Checksum" in file:
        return bool(file["sha256Checksum"] == sha256)
    if "md5Checksum" not in file:
        return False
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
    return bool(file["md5Checksum"] == digest.hexdigest())


def quoted(value: str) -> str:
    r"""Return a string of Drive's query language: \ and ' are escaped."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
