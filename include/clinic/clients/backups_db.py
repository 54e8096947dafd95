"""The part of the shared database where backups and restores are kept; SQL in backups.sql."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import psycopg

from clinic.backups.model import BackupKind, Manifest
from clinic.clients.locks import BACKUP_LOCK
from clinic.clients.shared_db import SharedDb
from clinic.errors import PermanentError, TransientError


class BackupsDb(SharedDb):
    """Keeps which backups there are, and what was made of them. A commit is on disk on return.

    Rows are returned as they are in the tables ``backups``, ``restores`` and ``restore_drills``.

    Args:
        conninfo: A libpq address, as the role ``clinica_sync``.
        statement_timeout_s: The longest that any one statement may take.
    """

    def __init__(self, conninfo: str, *, statement_timeout_s: float = 30) -> None:
        super().__init__(
            conninfo, name="backups", statement_timeout_s=statement_timeout_s, is_durable=True
        )
        self._locked_on: psycopg.Connection[dict[str, Any]] | None = None

    # Taking a backup

    def begin(
        self,
        backup_id: UUID,
        *,
        database: str,
        kind: BackupKind,
        requested_by: str,
        note: str = "",
        run_id: str = "",
        request_id: UUID | None = None,
    ) -> bool:
        """Become the only one who takes a backup, and note that it begins, or begins again.

        Returns:
            False when this backup is stored already.

        Raises:
            TransientError: The database is out of reach, or another process takes a backup.
        """
        with self._doing("beginning a backup") as connection:
            if self._locked_on is not connection:
                if not self._queries.try_backup_lock(connection, lock_id=BACKUP_LOCK):
                    raise TransientError(
                        "Shared database: another process takes a backup (it holds advisory lock "
                        f"{BACKUP_LOCK}). Wait until it ends, or end it."
                    )
                self._locked_on = connection
            self._queries.fail_left_backups(
                connection,
                backup_id=backup_id,
                error="The process that took it was ended, and no later try went on with it.",
            )
            begun = self._queries.begin_backup(
                connection,
                backup_id=backup_id,
                database=database,
                kind=kind.value,
                requested_by=requested_by,
                note=note,
                run_id=run_id,
                request_id=request_id,
            )
            return begun is not None

    def failed(self, backup_id: UUID, error: str) -> None:
        """Keep why a backup that began was not stored. It may begin again."""
        with self._doing("keeping why a backup failed") as connection:
            self._queries.fail_backup(connection, backup_id=backup_id, error=error)

    def upsert_from_manifest(
        self, manifest: Manifest, *, vault: str, file_id: str, manifest_file_id: str, url: str
    ) -> None:
        """Keep that a backup is stored: both its files lie in the vault and were compared.

        Also for one that this database does not know, or no longer: a manifest says it all.
        """
        with self._doing("keeping a stored backup") as connection:
            self._queries.store_backup(
                connection,
                backup_id=manifest.backup_id,
                database=manifest.database,
                kind=manifest.kind.value,
                requested_by=manifest.requested_by,
                note=manifest.note,
                taken_at=manifest.taken_at,
                name=manifest.name,
                vault=vault,
                file_id=file_id,
                manifest_file_id=manifest_file_id,
                url=url,
                size_bytes=manifest.encrypted_size_bytes,
                encrypted_sha256=manifest.encrypted_sha256,
                manifest=manifest.model_dump_json(),
            )

    # Which there are

    def get(self, backup_id: UUID) -> dict[str, Any] | None:
        """Return a backup's row, whatever its state."""
        with self._doing("reading a backup") as connection:
            row: dict[str, Any] | None = self._queries.backup(connection, backup_id=backup_id)
            return row

    def newest_stored(self, database: str, kind: BackupKind) -> dict[str, Any] | None:
        """Return the newest stored backup of a database and kind."""
        with self._doing("reading the newest backup") as connection:
            row: dict[str, Any] | None = self._queries.newest_stored_backup(
                connection, database=database, kind=kind.value
            )
            return row

    def stored(self) -> list[dict[str, Any]]:
        """Return every stored backup, the newest first."""
        with self._doing("reading the stored backups") as connection:
            return list(self._queries.stored_backups(connection))

    def recent(self, most: int) -> list[dict[str, Any]]:
        """Return the attempts begun last, whatever became of them."""
        with self._doing("reading recent backups") as connection:
            return list(self._queries.recent_backups(connection, most=most))

    def expire(self, backup_id: UUID) -> bool:
        """Note that a backup is given up, before its files go into the trash.

        Returns:
            False, and nothing is changed, when it is not stored, is the newest of its database and
            kind, or is being restored.
        """
        with self.transaction("expiring a backup"), self._doing("expiring a backup") as connection:
            if self._queries.lock_backup(connection, backup_id=backup_id) is None:
                return False
            return self._queries.expire_backup(connection, backup_id=backup_id) is not None

    # Telling Odoo

    def untold(self, most: int) -> list[dict[str, Any]]:
        """Return backups that Odoo's list does not show as they are, longest waiting first."""
        with self._doing("reading what Odoo was not told") as connection:
            return list(self._queries.untold_backups(connection, most=most))

    def told(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Note that Odoo was told of ``rows``, as :meth:`untold` returned them."""
        rows = list(rows)
        with self._doing("noting what Odoo was told") as connection:
            self._queries.told_backups(
                connection,
                backup_ids=[row["backup_id"] for row in rows],
                updated_ats=[row["updated_at"] for row in rows],
            )

    # Restores and drills

    def start_restore(
        self,
        restore_id: UUID,
        backup_id: UUID,
        *,
        purpose: Literal["restore", "drill"],
        target: str,
        requested_by: str,
    ) -> None:
        """Note that a restore begins, or begins again; its backup does not expire meanwhile.

        Raises:
            PermanentError: There is no such stored backup.
        """
        doing = "starting a restore"
        with self.transaction(doing), self._doing(doing) as connection:
            if self._queries.lock_backup(connection, backup_id=backup_id) is None:
                raise PermanentError(
                    f"Starting a restore: there is no stored backup {backup_id} (it may have "
                    "expired). Choose another: `clinic backup list`."
                )
            self._queries.start_restore(
                connection,
                restore_id=restore_id,
                backup_id=backup_id,
                purpose=purpose,
                target=target,
                requested_by=requested_by,
            )

    def step_restore(self, restore_id: UUID) -> None:
        """Note that a restore is at work; without a step for twelve hours it counts as dead."""
        with self._doing("noting a restore's step") as connection:
            self._queries.step_restore(connection, restore_id=restore_id)

    def finish_restore(
        self,
        restore_id: UUID,
        *,
        error: str | None = None,
        report: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep what became of a restore: failed with ``error``, done without."""
        with self._doing("keeping a restore's outcome") as connection:
            self._queries.finish_restore(
                connection,
                restore_id=restore_id,
                state="done" if error is None else "failed",
                error=error,
                report=None if report is None else json.dumps(report, default=str),
            )

    def running_restores(self) -> list[dict[str, Any]]:
        """Return the restores at work, those left out that took no step for twelve hours."""
        with self._doing("reading the running restores") as connection:
            return list(self._queries.running_restores(connection))

    def add_drill(
        self,
        drill_id: UUID,
        backup_id: UUID,
        *,
        passed: bool,
        restore_s: float | Decimal,
        total_s: float | Decimal,
        tables_compared: int,
        rows_compared: int,
        files_compared: int,
        differences: Sequence[Any] = (),
    ) -> None:
        """Keep a drill's outcome. ``drill_id`` is the restore's id; done twice it is kept once."""
        doing = "keeping a drill"
        with self.transaction(doing), self._doing(doing) as connection:
            self._queries.add_drill(
                connection,
                drill_id=drill_id,
                backup_id=backup_id,
                passed=passed,
                restore_s=restore_s,
                total_s=total_s,
                tables_compared=tables_compared,
                rows_compared=rows_compared,
                files_compared=files_compared,
                differences=json.dumps(list(differences), default=str),
            )
            self._queries.drill_to_tell(connection, backup_id=backup_id)

    def drills(self, most: int, *, only_passed: bool = False) -> list[dict[str, Any]]:
        """Return the last drills, the newest first, each with its backup's name and time."""
        with self._doing("reading the drills") as connection:
            return list(self._queries.drills(connection, most=most, only_passed=only_passed))

    def last_drill(self, *, only_passed: bool = False) -> dict[str, Any] | None:
        """Return the last drill, or the last that passed."""
        return next(iter(self.drills(1, only_passed=only_passed)), None)
