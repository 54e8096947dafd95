"""What a backup is called, and what is in it.

A backup is two files side by side in the vault: the archive, encrypted, and its manifest, in the
clear, which tells the one from its neighbours on the day when nothing else is left. The archive is
a tar file (POSIX pax) that holds ``manifest.json`` without the sums, ``database/`` (or
``database.dump``, or ``odoo.zip``, see :class:`DumpFormat`) and ``filestore/``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

MANIFEST_SUFFIX: Final = ".manifest.json"
ARCHIVE_SUFFIX: Final = ".tar.age"
TARGET: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,38}")
"""What a restore's database may be called: with what is added to it, 63 bytes at most."""

_STAMP: Final = "%Y%m%dT%H%M%SZ"
_NAME: Final = re.compile(
    r"(?P<database>[a-z0-9][a-z0-9_-]{0,62})\.(?P<kind>full|database|filestore)"
    r"\.(?P<stamp>\d{8}T\d{6}Z)\.(?P<id>[0-9a-f]{8})"
)


class BackupKind(StrEnum):
    """What is backed up."""

    FULL = "full"
    DATABASE = "database"
    FILESTORE = "filestore"


class DumpFormat(StrEnum):
    """How the database lies in the archive."""

    DIRECTORY = "directory"  # database/, by pg_dump --format=directory
    CUSTOM = "custom"  # database.dump, as Odoo's database manager gives it
    ZIP = "zip"  # odoo.zip: dump.sql and filestore, as Odoo's database manager gives it
    NONE = "none"


@dataclass(frozen=True, slots=True)
class BackupName:
    """A backup's name: sorts by database, kind and time, and can be read back.

    ``odoo.full.20261124T010000Z.1a2b3c4d``; the last part is the beginning of the backup's id, so
    that two of one second, or of a clock that was set back, do not meet.
    """

    database: str
    kind: BackupKind
    taken_at: datetime
    id_start: str

    @classmethod
    def of(cls, database: str, kind: BackupKind, taken_at: datetime, backup_id: UUID) -> Self:
        """Return the name of a new backup."""
        return cls(
            database, kind, taken_at.astimezone(UTC).replace(microsecond=0), backup_id.hex[:8]
        )

    @classmethod
    def parse(cls, file_name: str) -> Self | None:
        """Read the name of an archive or of a manifest; None where it is not one of ours."""
        for suffix in (ARCHIVE_SUFFIX, MANIFEST_SUFFIX, ""):
            if file_name.endswith(suffix):
                match = _NAME.fullmatch(file_name.removesuffix(suffix))
                break
        if match is None:
            return None
        try:
            taken_at = datetime.strptime(match["stamp"], _STAMP).replace(tzinfo=UTC)
        except ValueError:
            return None
        return cls(match["database"], BackupKind(match["kind"]), taken_at, match["id"])

    def __str__(self) -> str:
        """Return the name without a suffix."""
        return f"{self.database}.{self.kind}.{self.taken_at.strftime(_STAMP)}.{self.id_start}"

    @property
    def archive(self) -> str:
        """The encrypted archive's file name."""
        return f"{self}{ARCHIVE_SUFFIX}"

    @property
    def manifest(self) -> str:
        """The manifest's file name."""
        return f"{self}{MANIFEST_SUFFIX}"

    @property
    def folders(self) -> tuple[str, str, str, str]:
        """The folders below the vault's root, outermost first."""
        return self.database, self.kind.value, f"{self.taken_at:%Y}", f"{self.taken_at:%m}"


class Filestore(BaseModel):
    """The files that the database's snapshot refers to. Odoo names each by its SHA-1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: int = Field(ge=0)
    size_bytes: int = Field(ge=0)
    names_sha256: str
    """Of the sorted names (``ab/abcdef…``), each followed by a newline."""
    missing: tuple[str, ...] = ()
    """Names that the database refers to, and that were not there when the backup was taken."""


class Contents(BaseModel):
    """What is in an archive, as it was found while the archive was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    backup_id: UUID
    name: str
    kind: BackupKind
    database: str
    database_uuid: str
    """Odoo's ``database.uuid``: which installation this is."""
    taken_at: AwareDatetime
    source: Literal["postgres", "http"]
    dump_format: DumpFormat
    odoo_version: str
    postgres_version: str
    modules: dict[str, str]
    """Installed modules and their versions."""
    tables: dict[str, int]
    """Rows of each table (``public.res_users``) in the snapshot that was dumped."""
    filestore: Filestore | None
    tools: dict[str, str]
    requested_by: str
    note: str


class Manifest(Contents):
    """An archive's contents and its sums; it lies beside the archive."""

    size_bytes: int = Field(gt=0)
    sha256: str
    encrypted_size_bytes: int = Field(gt=0)
    encrypted_sha256: str
    recipients: tuple[str, ...] = Field(min_length=1)
    """Public keys (age); whoever has one of their private keys can open the archive."""
