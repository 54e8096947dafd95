"""A real backup of the stack's Odoo in the stack's Drive, and restores of it under other names."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import psycopg
from clinic.backups import restore as use_case
from clinic.backups.keys import DrillKeys, new_pair
from clinic.backups.model import BackupKind, Manifest
from clinic.backups.request import Request
from clinic.backups.restore import Restore, Tell, Wish
from clinic.backups.take import Take
from clinic.backups.unpack import parse_identity
from clinic.clients.backups_db import BackupsDb
from clinic.clients.drive_login import DriveLogin
from clinic.clients.drive_vault import DriveVault
from clinic.clients.odoo_dump_postgres import PostgresDumpSource
from clinic.clients.odoo_process import OdooProgram
from clinic.clients.odoo_restore import OdooRestore
from support.shared_db import Database, on_database
from support.stack_env import needed


@dataclass
class Stored:
    """A backup in the vault, and what opens it."""

    folder: str
    name: str
    identity: str
    recipient: str
    drill_identity: str | None
    database: Database

    @property
    def id_file(self) -> str:
        return f"# public key: {self.recipient}\n{self.identity}\n"


@contextmanager
def vault_of(folder: str) -> Iterator[DriveVault]:
    """Open the stack's Drive below a folder."""
    login = DriveLogin.from_key_file(
        Path(needed("DRIVE_KEYFILE")), needed("DRIVE_SHARED_DRIVE_ID"), needed("DRIVE_API_URL")
    )
    with (
        patch.dict(os.environ, {"REQUESTS_CA_BUNDLE": needed("CA_FILE")}),
        closing(login.vault(folder)) as vault,
    ):
        yield vault


def take(
    database: Database, scratch: Path, kind: BackupKind = BackupKind.FULL, source: Any = None
) -> Stored:
    """Back the stack's Odoo up, into a folder of its own in Drive."""
    identity, recipient = new_pair()
    folder = f"Pruebas/{uuid.uuid4().hex[:8]}"
    keys = DrillKeys(scratch / "keys")
    backup_id = uuid.uuid4()
    files = Path(needed("ODOO_FILESTORE")) / needed("ODOO_DB")
    with closing(BackupsDb(database.sync_url)) as ledger, vault_of(folder) as vault:
        source = source or PostgresDumpSource(needed("ODOO_DB_URL"), files)
        spool = scratch / "spool"
        spool.mkdir(exist_ok=True)
        job = Take(ledger, source, vault, [recipient], spool, keys)
        done = job.run(backup_id, Request(kind=kind, requested_by="tests"))
    return Stored(folder, done["name"], identity, recipient, keys.identity(backup_id), database)


class Rig:
    """Restores of one backup, on the stack's PostgreSQL, with a folder of filestores of its own."""

    def __init__(self, stored: Stored, folder: Path, filestore: Path | None = None) -> None:
        self.stored = stored
        self.spool = folder / "restores"
        self.filestore = filestore or folder / "filestore"
        self.filestore.mkdir(parents=True, exist_ok=True)
        self.databases = OdooRestore(needed("ODOO_DB_URL"), self.filestore)
        self.steps: list[str] = []
        self.made: set[str] = set()

    def program(self, restore_id: uuid.UUID) -> OdooProgram:
        command = ["odoo", "-c", needed("ODOO_CONF")]
        return OdooProgram(command, self.spool / str(restore_id) / "odoo")

    @contextmanager
    def restore(
        self, target: str, restore_id: uuid.UUID | None = None, **wish: Any
    ) -> Iterator[Restore]:
        """Prepare a restore."""
        self.made.add(target)
        found_id = restore_id or uuid.uuid4()
        with vault_of(self.stored.folder) as vault:
            yield Restore(
                use_case.find(vault, self.stored.name),
                vault,
                parse_identity(self.stored.id_file),
                Wish(found_id, target, **wish),
                self.databases,
                self.program(found_id),
                self.spool,
                tell=Tell(self.steps.append),
            )

    def sql(self, database: str, statement: str, *args: Any) -> list[tuple[Any, ...]]:
        """Run one statement in a restored database."""
        with psycopg.connect(
            on_database(needed("ODOO_DB_URL"), database), autocommit=True
        ) as connection:
            cursor = connection.execute(statement, args or None)
            return cursor.fetchall() if cursor.description else []

    def names(self) -> set[str]:
        """Return the server's databases."""
        return {row[0] for row in self.sql("postgres", "SELECT datname FROM pg_database")}

    def close(self) -> None:
        """Drop every database that this made."""
        for name in self.names():
            made = any(name == one or name.startswith(f"{one}_") for one in self.made)
            if made and name.startswith(("prueba_", "drill_")):
                self.databases.drop(name)
        shutil.rmtree(self.spool, ignore_errors=True)


def role() -> str:
    """Return the role that owns Odoo's databases."""
    return str(urlsplit(needed("ODOO_DB_URL")).username)


def manifest_of(rig: Rig) -> Manifest:
    """Return the backup's manifest."""
    with vault_of(rig.stored.folder) as vault:
        return use_case.find(vault, rig.stored.name).manifest
