"""What the vault really has, beside what the shared database remembers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from clinic.backups.model import BackupKind, BackupName
from clinic.backups.retention import Candidate
from clinic.backups.vault import Vault, VaultFile

GRACE: Final = timedelta(days=2)
"""So long after a backup was given up what is left of it is swept. Later a person took it back."""
FAILED_STAY: Final = timedelta(days=7)
"""A backup that failed may go on with what it stored so far; after so long it does not."""

type Row = Mapping[str, Any]


class Memory(Protocol):
    """What is asked of :class:`clinic.clients.backups_db.BackupsDb`."""

    def stored(self) -> Sequence[Row]:
        """Return every stored backup."""
        ...

    def get(self, backup_id: UUID) -> Row | None:
        """Return a backup's row, whatever its state."""
        ...


@dataclass(frozen=True, slots=True)
class Sighting:
    """Something of the vault that is not as it should be."""

    name: str
    what: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found.

    Attributes:
        good: Stored backups whose files are both there, as long and with the sum they had.
        gone: Stored backups without their files.
        damaged: Stored backups whose file is another than the one that was stored.
        strangers: Files that no stored backup has. Nothing of this project touches them.
        remains: Files of backups that were given up, or that failed: they go into the trash.
    """

    good: tuple[Candidate, ...]
    gone: tuple[Sighting, ...]
    damaged: tuple[Sighting, ...]
    strangers: tuple[Sighting, ...]
    remains: tuple[VaultFile, ...]


def look(memory: Memory, vault: Vault, now: datetime) -> Survey:
    """Compare what the database remembers with what lies in the vault."""
    # In this order: a file that comes in between is looked up by its id, and found to be known.
    files = {file.file_id: file for file in vault.files()}
    rows = [row for row in memory.stored() if row["vault"] == vault.name]
    good: list[Candidate] = []
    gone: list[Sighting] = []
    damaged: list[Sighting] = []
    for row in rows:
        both = [row["file_id"], row["manifest_file_id"]]
        # Not below the root any more is not gone: a person may have moved it.
        archive, manifest = (files.get(one) or vault.get(one) for one in both)
        if archive is None or manifest is None:
            missing = "archive" if archive is None else "manifest"
            gone.append(Sighting(row["name"], f"its {missing} is not in the vault"))
        elif archive.size_bytes != row["size_bytes"] or archive.sha256 not in {
            None,
            row["encrypted_sha256"],
        }:
            damaged.append(
                Sighting(row["name"], f"its archive is not the one that was stored: {archive.url}")
            )
        elif (told := manifest.properties.get("clinic_sha256")) and manifest.sha256 not in {
            None,
            told,
        }:
            damaged.append(
                Sighting(
                    row["name"], f"its manifest is not the one that was stored: {manifest.url}"
                )
            )
        else:
            good.append(
                Candidate(
                    backup_id=row["backup_id"],
                    database=row["database"],
                    kind=BackupKind(row["kind"]),
                    taken_at=row["taken_at"],
                    stored_at=archive.created_at,
                    name=row["name"],
                )
            )
    known = {row[name] for row in rows for name in ("file_id", "manifest_file_id")}
    unknown = [file for file_id, file in files.items() if file_id not in known]
    strangers, remains = _judge(unknown, memory, now)
    return Survey(tuple(good), tuple(gone), tuple(damaged), strangers, remains)


def _judge(
    files: Sequence[VaultFile], memory: Memory, now: datetime
) -> tuple[tuple[Sighting, ...], tuple[VaultFile, ...]]:
    """Return which files are strange, and which are what is left of a backup."""
    rows = {one: memory.get(one) for one in {_id_of(file) for file in files} if one is not None}
    whole = {
        _id_of(file)
        for file in files
        if file.name.endswith(".json") and BackupName.parse(file.name) is not None
    }
    strangers: list[Sighting] = []
    remains: list[VaultFile] = []
    for file in files:
        backup_id = _id_of(file)
        row = rows[backup_id] if backup_id else None
        if row is None:
            what = "no backup of this database has it"
            if backup_id in whole and backup_id:
                what += "; `clinic backup adopt` adds it to the list"
            strangers.append(Sighting(file.name, f"{what}: {file.url}"))
        elif row["state"] == "running":
            pass
        elif row["state"] == "failed" and backup_id not in whole:
            if now - row["updated_at"] > FAILED_STAY:
                remains.append(file)
        elif _was_given_up(file, row, now):
            remains.append(file)
        else:
            strangers.append(Sighting(file.name, f"{_ODD[row['state']]}: {file.url}"))
    return tuple(strangers), tuple(remains)


def _was_given_up(file: VaultFile, row: Row, now: datetime) -> bool:
    """Whether whoever gave this backup up was ended before its file was in the trash."""
    return (
        row["state"] == "expired"
        and file.file_id in {row["file_id"], row["manifest_file_id"]}
        and now - row["expired_at"] <= GRACE
    )


_ODD: Final = {
    "expired": "its backup was given up, and this was copied, or taken back from the trash",
    "failed": "its backup failed after all was stored; `clinic backup adopt` adds it to the list",
    "stored": "its backup has another file: this one is a copy",
}


def _id_of(file: VaultFile) -> UUID | None:
    try:
        return UUID(file.properties.get("clinic_backup", ""))
    except ValueError:
        return None
