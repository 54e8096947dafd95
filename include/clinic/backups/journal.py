"""How far a backup has come, on disk: what a killed process's next try goes on with.

A backup has a folder of its own, the spool, with the dump, the archive, and ``journal.json``. Who
works in it holds a lock on it, so that a process that was given up and its next try never meet.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clinic.backups.model import Contents, Manifest
from clinic.errors import TransientError

_JOURNAL: Final = "journal.json"
_LOCK: Final = "lock"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Stage(StrEnum):
    """The last thing that is surely done."""

    BEGUN = "begun"
    DUMPED = "dumped"
    ENCRYPTED = "encrypted"
    UPLOADED = "uploaded"
    MANIFEST_UPLOADED = "manifest_uploaded"


class Journal(BaseModel):
    """What the next try has to know. It holds the address of an upload, which is a secret."""

    model_config = ConfigDict(extra="forbid")

    boot_id: str = Field(default_factory=lambda: _BOOT_ID.read_text().strip())
    """Since when this machine runs. What was written before a power cut may not be on disk."""
    stage: Stage = Stage.BEGUN
    dump_folder: str | None = None
    contents: Contents | None = None
    manifest: Manifest | None = None
    archive_id: str | None = None
    session_uri: str | None = None
    url: str | None = None
    manifest_id: str | None = None


class Spool:
    """One backup's folder; see :func:`opened`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.archive = folder / "archive.tar.age"
        self.names = folder / "filestore.names"
        self.manifest = folder / "manifest.json"
        self.journal = self._read()

    def _read(self) -> Journal:
        try:
            return Journal.model_validate_json((self.folder / _JOURNAL).read_bytes())
        except (FileNotFoundError, ValidationError):  # none, or of another version: start anew
            return Journal()

    def write(self) -> None:
        """Keep the journal: the old one or the new one is on disk, whatever happens."""
        replace_durably(self.folder / _JOURNAL, self.journal.model_dump_json().encode())

    @property
    def is_of_this_boot(self) -> bool:
        """Whether dump and archive are as they were left: a kill keeps them, a power cut may not.

        So nobody has to wait until gigabytes are on disk that are removed a minute later.
        """
        return self.journal.boot_id == Journal().boot_id

    def begin_anew(self) -> None:
        """Throw away what there is: half a dump, or what belongs to one."""
        self.journal = Journal()
        self.write()
        for path in self.folder.iterdir():
            if path.name not in {_JOURNAL, _LOCK}:
                _remove(path)

    def remove(self) -> None:
        """Remove the folder: the backup is stored, or given up."""
        _remove(self.folder)


@contextmanager
def opened(root: Path, backup_id: UUID) -> Iterator[Spool]:
    """Yield a backup's spool, made if missing, and keep others out of it.

    Raises:
        TransientError: Another process works in it.
    """
    folder = root / str(backup_id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(folder) as is_mine:
        if not is_mine:
            raise TransientError(
                f"Taking backup {backup_id}: another process, perhaps an earlier try that was "
                f"given up, still works in {folder}. Wait until it ends, or end it."
            )
        yield Spool(folder)


@contextmanager
def left_over(root: Path, backup_id: UUID) -> Iterator[list[Spool]]:
    """Yield the spools of all other backups that no process works in."""
    with ExitStack() as stack:
        yield [
            Spool(folder)
            for folder in sorted(root.glob("*-*-*-*-*"))
            if folder.name != str(backup_id) and stack.enter_context(_locked(folder))
        ]


def replace_durably(path: Path, content: bytes) -> None:
    """Write a small file so that the old or the new content is there after a power cut."""
    half = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(half, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Let a folder's entries reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    with (folder / _LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
