"""Small backups in a real vault and a real database, taken whenever a test says."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from clinic.backups.model import BackupKind, BackupName, DumpFormat, Manifest
from clinic.clients.backups_db import BackupsDb
from clinic.clients.drive_vault import DriveVault
from support.drive import Drive


def manifest_of(content: bytes, taken_at: datetime, kind: BackupKind, backup_id: UUID) -> Manifest:
    """Return the manifest of an archive."""
    return Manifest(
        backup_id=backup_id,
        name=str(BackupName.of("odoo", kind, taken_at, backup_id)),
        kind=kind,
        database="odoo",
        database_uuid=str(uuid4()),
        taken_at=taken_at,
        source="postgres",
        dump_format=DumpFormat.DIRECTORY,
        odoo_version="19.0",
        postgres_version="17.6",
        modules={"base": "19.0.1.3"},
        tables={"public.res_users": 5},
        filestore=None,
        tools={"pg_dump": "17.6"},
        requested_by="schedule",
        note="",
        size_bytes=100,
        sha256="a" * 64,
        encrypted_size_bytes=len(content),
        encrypted_sha256=hashlib.sha256(content).hexdigest(),
        recipients=("age1" + "q" * 58,),
    )


class Keeper:
    """Keeps backups as ``backup_odoo`` does, at times of one's own choosing."""

    def __init__(self, drive: Drive, vault: DriveVault, db: BackupsDb, folder: Path) -> None:
        self.drive, self.vault, self.db, self._folder = drive, vault, db, folder

    def keep(
        self,
        taken_at: datetime,
        kind: BackupKind = BackupKind.FULL,
        *,
        size: int = 1000,
        stored_at: datetime | None = None,
    ) -> dict[str, Any]:
        """Store a backup; return its row."""
        backup_id = uuid4()
        content = hashlib.shake_256(backup_id.bytes).digest(size)
        manifest = manifest_of(content, taken_at, kind, backup_id)
        files = [
            self.upload(backup_id, taken_at, kind, name, data, stored_at)
            for name, data in (
                (f"{manifest.name}.tar.age", content),
                (f"{manifest.name}.manifest.json", manifest.model_dump_json().encode()),
            )
        ]
        self.db.upsert_from_manifest(
            manifest, vault="drive", file_id=files[0], manifest_file_id=files[1], url="https://x/y"
        )
        return self.db.get(backup_id) or {}

    def upload(
        self,
        backup_id: UUID | None,
        taken_at: datetime,
        kind: BackupKind,
        name: str,
        content: bytes,
        stored_at: datetime | None = None,
    ) -> str:
        """Store one file; return its id."""
        path = self._folder / "content"
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        properties = {"clinic_backup": str(backup_id), "clinic_sha256": sha256} if backup_id else {}
        stored = self.vault.upload(
            path, name=name, folders=("odoo", kind.value, f"{taken_at:%Y}", f"{taken_at:%m}"),
            sha256=sha256, content_type="application/octet-stream", properties=properties,
            reserved_id=self.vault.reserve(),
        )  # fmt: skip
        at = (stored_at or taken_at + timedelta(minutes=10)).isoformat()
        self.change(stored.file_id, createdTime=at)
        return stored.file_id

    def change(self, file_id: str, **what: Any) -> None:
        """Change a file as a person does in Drive."""
        with self.drive.session() as session:
            session.patch(
                f"{self.drive.url}/drive/v3/files/{file_id}",
                params={"supportsAllDrives": "true"},
                json=what,
            ).raise_for_status()

    def delete(self, file_id: str) -> None:
        """Delete a file for good."""
        with self.drive.session() as session:
            session.delete(
                f"{self.drive.url}/drive/v3/files/{file_id}", params={"supportsAllDrives": "true"}
            ).raise_for_status()

    def names(self) -> list[str]:
        """Return the names of the files in the vault that are not in the trash."""
        return sorted(file.name for file in self.vault.files())
