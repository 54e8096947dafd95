"""Files and folders: their metadata in SQLite, their bytes beside it. Both outlive the process."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drive_emulator.config import Config
from drive_emulator.errors import DriveError, invalid, not_found, over_quota
from drive_emulator.tokens import Caller

FOLDER = "application/vnd.google-apps.folder"
BLOCK = 1 << 20

File = dict[str, Any]

CREATE = """
CREATE TABLE IF NOT EXISTS files (id TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS generated (id TEXT PRIMARY KEY, used INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, content TEXT NOT NULL);
"""

# What a request may say about a file, and of which type it is. Anything else is a 400.
WRITABLE: dict[str, type] = {
    "name": str, "mimeType": str, "description": str, "starred": bool,
    "createdTime": str, "modifiedTime": str, "appProperties": dict, "properties": dict,
}  # fmt: skip
ON_CREATE: dict[str, type] = WRITABLE | {"id": str, "parents": list}
ON_UPDATE: dict[str, type] = WRITABLE | {"trashed": bool}


def now() -> str:
    """Return this instant as Drive writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def checked(metadata: Any, known: dict[str, type]) -> File:
    """Return metadata a request brought.

    Raises:
        DriveError: 400, for what is not known.
    """
    if not isinstance(metadata, dict):
        raise invalid("Metadata is a JSON object")
    for name, value in metadata.items():
        if name not in known:
            raise invalid(f'Invalid JSON payload received. Unknown name "{name}"')
        if not isinstance(value, known[name]):
            raise invalid(f"Invalid value for {name}")
    for kind in ("appProperties", "properties"):
        for key, value in metadata.get(kind, {}).items():
            if value is not None and not isinstance(value, str):
                raise invalid(f"Invalid value for {kind}.{key}")
            if len(key.encode()) + len((value or "").encode()) > 124:
                raise invalid("A property's key and value have 124 bytes together at most")
    if len(metadata.get("appProperties", {})) > 30:
        raise invalid("There are 30 private properties at most")
    return metadata


class Storage:
    """All files of all accounts. One process, one event loop: no locks."""

    def __init__(self, config: Config, data: Path) -> None:
        self._config = config
        self.uploads = data / "uploads"
        self._content = data / "content"
        for folder in (self.uploads, self._content):
            folder.mkdir(parents=True, exist_ok=True)
        # The event loop may run in another thread than the one that called this.
        self.database = sqlite3.connect(
            data / "drive.sqlite", autocommit=True, check_same_thread=False
        )
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = NORMAL")
        self.database.executescript(CREATE)
        rows = self.database.execute("SELECT content FROM files")
        self._files: dict[str, File] = {}
        for (content,) in rows:
            file = json.loads(content)
            self._files[file["id"]] = file
        self._used: Counter[str] = Counter()
        for file in self._files.values():
            self._used[file["owner"]] += int(file.get("size", 0))

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    # Reading

    def root(self, folder_id: str, caller: Caller) -> File | None:
        """Return the root folder of My Drive or of a shared drive, if the id is one's."""
        common = {
            "kind": "drive#file", "mimeType": FOLDER, "trashed": False, "parents": [],
            "explicitlyTrashed": False, "starred": False, "version": "1",
            "createdTime": "2026-01-01T00:00:00.000Z", "modifiedTime": "2026-01-01T00:00:00.000Z",
        }  # fmt: skip
        if folder_id in {"root", caller.root_id}:
            return common | {"id": caller.root_id, "name": "My Drive", "owner": caller.email}
        if name := self._config.shared_drives.get(folder_id):
            return common | {
                "id": folder_id, "name": name, "owner": folder_id, "driveId": folder_id,
            }  # fmt: skip
        return None

    def get(self, file_id: str, caller: Caller, *, all_drives: bool) -> File:
        """Return a file that the caller may see.

        Raises:
            DriveError: 404; so is a file of a shared drive where the call does not support them.
        """
        file = self.root(file_id, caller) or self._files.get(file_id)
        if file is None or not self._visible(file, caller, all_drives=all_drives):
            raise not_found(file_id)
        return file

    def _visible(self, file: File, caller: Caller, *, all_drives: bool) -> bool:
        if "driveId" in file:
            return all_drives
        return bool(file["owner"] == caller.email)

    def visible(self, caller: Caller, *, all_drives: bool) -> Iterator[File]:
        """Yield all files that the caller may see, as answered."""
        for file in self._files.values():
            if self._visible(file, caller, all_drives=all_drives):
                yield self.shown(file)

    def everything(self) -> Iterator[File]:
        """Yield all files of all accounts."""
        yield from self._files.values()

    def is_trashed(self, file: File) -> bool:
        """Whether it, or a folder it lies in, is in the trash."""
        while not file["explicitlyTrashed"]:
            parent = self._files.get(file["parents"][0]) if file["parents"] else None
            if parent is None:
                return False
            file = parent
        return True

    def shown(self, file: File) -> File:
        """Return a file as it is answered."""
        shown = file | {
            "trashed": self.is_trashed(file),
            "webViewLink": f"{self._config.url}/file/d/{file['id']}/view",
        }
        del shown["owner"]
        if "driveId" not in file:
            shown["owners"] = [{"kind": "drive#user", "emailAddress": file["owner"]}]
        return shown

    def content_path(self, file: File) -> Path:
        """Return where its bytes are."""
        return self._content / str(file["id"])

    def used(self, owner: str) -> int:
        """Return how many bytes an account or a shared drive holds, its trash with it."""
        return self._used[owner]

    def trashed(self, owner: str) -> int:
        """Return how many of them are in the trash."""
        return sum(
            int(file.get("size", 0))
            for file in self._files.values()
            if file["owner"] == owner and self.is_trashed(file)
        )

    def limit(self, owner: str) -> int:
        """Return how many bytes it may hold. A service account has no space of its own."""
        return 0 if owner == self._config.client_email else self._config.quota_bytes

    # Writing

    def generate_ids(self, count: int) -> list[str]:
        """Return ids that a file may be created with, once each."""
        ids = [f"1{secrets.token_urlsafe(24)}" for _ in range(count)]
        self.database.execute("BEGIN")
        self.database.executemany("INSERT INTO generated VALUES (?, 0)", [(one,) for one in ids])
        self.database.execute("COMMIT")
        return ids

    def prepare(self, metadata: File, caller: Caller, size: int, *, all_drives: bool) -> File:
        """Return the file that would be created. Nothing is written.

        Raises:
            DriveError: 404 no such folder, 403 no space, 409 id in use, 400.
        """
        checked(metadata, ON_CREATE)
        parents = metadata.get("parents") or ["root"]
        if len(parents) != 1:
            raise invalid("A file has exactly one parent")
        parent = self.get(parents[0], caller, all_drives=all_drives)
        if parent["mimeType"] != FOLDER:
            raise invalid("The parent is not a folder")
        owner = parent["owner"]
        if size and self.used(owner) + size > self.limit(owner):
            raise over_quota(owner == self._config.client_email)
        file_id = metadata.get("id")
        if file_id is not None:
            self._check_id(file_id)
        at = now()
        return {
            "kind": "drive#file",
            "id": file_id or f"1{secrets.token_urlsafe(24)}",
            "name": metadata.get("name", "Untitled"),
            "mimeType": metadata.get("mimeType", "application/octet-stream"),
            "starred": metadata.get("starred", False),
            "explicitlyTrashed": False,
            "parents": [parent["id"]],
            "createdTime": metadata.get("createdTime", at),
            "modifiedTime": metadata.get("modifiedTime", at),
            "version": "1",
            "owner": owner,
            **({"driveId": parent["driveId"]} if "driveId" in parent else {}),
            **{
                name: metadata[name]
                for name in ("description", "appProperties", "properties")
                if name in metadata
            },
        }

    def _check_id(self, file_id: str) -> None:
        row = self.database.execute(
            "SELECT used FROM generated WHERE id = ?", (file_id,)
        ).fetchone()
        if row is None:
            raise invalid("The provided file ID is not usable.")
        if row[0]:
            raise DriveError(409, "fileIdInUse", "A file already exists with the provided ID.")

    def add(self, file: File, content: Path | None) -> File:
        """Create a file from what `prepare` returned; the bytes are moved."""
        if content is not None:
            file |= _checksums(content)
            content.rename(self.content_path(file))
        self.database.execute("BEGIN")
        self.database.execute("UPDATE generated SET used = 1 WHERE id = ?", (file["id"],))
        self._write(file)
        self.database.execute("COMMIT")
        return self.shown(file)

    def update(self, file: File, changes: File, parent: File | None) -> File:
        """Change a file's metadata, and the folder it lies in."""
        checked(changes, ON_UPDATE)
        changed = dict(file)
        for kind in ("appProperties", "properties"):
            if kind in changes:
                merged = changed.get(kind, {}) | changes[kind]
                changed[kind] = {key: value for key, value in merged.items() if value is not None}
        changed |= {
            name: changes[name] for name in changes if name not in {"appProperties", "properties"}
        }
        if "trashed" in changes:
            changed["explicitlyTrashed"] = changed.pop("trashed")
            changed.pop("trashedTime", None)
            if changed["explicitlyTrashed"]:
                changed["trashedTime"] = now()
        if parent is not None:
            changed["parents"] = [parent["id"]]
        changed["modifiedTime"] = changes.get("modifiedTime", now())
        changed["version"] = str(int(file["version"]) + 1)
        self._write(changed)
        return self.shown(changed)

    def delete(self, file: File) -> None:
        """Delete for good; a folder with all that lies in it."""
        for child in [one for one in self._files.values() if file["id"] in one["parents"]]:
            self.delete(child)
        if self._files.pop(file["id"], None):
            self._used[file["owner"]] -= int(file.get("size", 0))
        self.database.execute("DELETE FROM files WHERE id = ?", (file["id"],))
        self.content_path(file).unlink(missing_ok=True)

    def _write(self, file: File) -> None:
        before = self._files.get(file["id"], {})
        self._used[file["owner"]] += int(file.get("size", 0)) - int(before.get("size", 0))
        self._files[file["id"]] = file
        self.database.execute(
            "INSERT INTO files VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET content = excluded.content",
            (file["id"], json.dumps(file)),
        )


def _checksums(path: Path) -> File:
    hashes = {name: hashlib.new(name) for name in ("md5", "sha1", "sha256")}
    with path.open("rb") as content:
        while block := content.read(BLOCK):
            for one in hashes.values():
                one.update(block)
    size = str(os.path.getsize(path))
    return {
        "size": size,
        "quotaBytesUsed": size,
        **{f"{name}Checksum": one.hexdigest() for name, one in hashes.items()},
    }
