"""Listing again what lies in the vault, for the day when the shared database was lost."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from pydantic import ValidationError

from clinic.backups.model import MANIFEST_SUFFIX, BackupName, Manifest
from clinic.backups.vault import Vault

log = logging.getLogger(__name__)

_MANIFEST_BYTES: Final = 64 * 1024**2


class Ledger(Protocol):
    """Where it is remembered: :class:`clinic.clients.backups_db.BackupsDb`."""

    def get(self, backup_id: UUID) -> dict[str, Any] | None:
        """Return what is known of a backup."""
        ...

    def upsert_from_manifest(
        self, manifest: Manifest, *, vault: str, file_id: str, manifest_file_id: str, url: str
    ) -> None:
        """Keep that it is stored."""
        ...


@dataclass(frozen=True, slots=True)
class Adopted:
    """What came of it: names of backups, and why what looked like one is none."""

    listed: tuple[str, ...]
    known: tuple[str, ...]
    refused: tuple[str, ...]


def adopt(ledger: Ledger, vault: Vault) -> Adopted:
    """List every backup whose two files lie in the vault, whole; those that are listed stay so.

    The vault's own sum of an archive has to be the manifest's. A file that is in the trash, or that
    no manifest speaks for, is left alone.
    """
    files = vault.files()
    listed, known, refused = [], [], []
    for file in files:
        if not file.name.endswith(MANIFEST_SUFFIX) or BackupName.parse(file.name) is None:
            continue
        try:
            manifest = Manifest.model_validate_json(vault.read(file.file_id, _MANIFEST_BYTES))
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)[0]
            refused.append(f"{file.name}: it is no manifest ({found['msg']})")
            continue
        row = ledger.get(manifest.backup_id)
        if row is not None and row["state"] == "stored":
            known.append(manifest.name)
            continue
        archives = [
            one
            for one in files
            if one.properties.get("clinic_backup") == str(manifest.backup_id)
            and one.file_id != file.file_id
            and one.size_bytes == manifest.encrypted_size_bytes
            and one.sha256 in {None, manifest.encrypted_sha256}
        ]
        if not archives:
            refused.append(f"{manifest.name}: no archive of its size and sum is there")
            continue
        ledger.upsert_from_manifest(
            manifest,
            vault=vault.name,
            file_id=archives[0].file_id,
            manifest_file_id=file.file_id,
            url=archives[0].url,
        )
        listed.append(manifest.name)
        log.info("listed again: name=%s", manifest.name)
    return Adopted(tuple(sorted(listed)), tuple(sorted(known)), tuple(sorted(refused)))
