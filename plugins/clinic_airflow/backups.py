"""Taking backups, wired to Airflow's connections."""

from __future__ import annotations

import logging
import os
import tempfile
import uuid
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clinic.backups.keys import DrillKeys
from clinic.backups.settings import VARIABLE, BackupSettings, parse_settings
from clinic.backups.take import Take
from clinic.clients.backups_db import BackupsDb
from clinic.errors import PermanentError

from clinic_airflow import lookup
from clinic_airflow.backup_requests import request_of, say_that_it_began
from clinic_airflow.hooks.drive import DriveHook
from clinic_airflow.hooks.odoo_database import OdooDatabaseHook
from clinic_airflow.hooks.shared_db import SharedDbHook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Connection
    from clinic.backups.source import DumpSource
    from clinic.clients.drive_vault import DriveVault

for _chatty in ("httpx", "googleapiclient"):  # a line a request
    logging.getLogger(_chatty).setLevel(logging.WARNING)

MANAGER: Final = "odoo_database_manager"


def take_backup(params: Mapping[str, Any], dag_run: Any, events: Any) -> dict[str, Any]:
    """Take the backup that a run of backup_odoo stands for, or go on with it.

    Args:
        params: The form: ``kind`` and ``note``.
        dag_run: The run; each try of it works at the same backup.
        events: ``triggering_asset_events`` of the task's context.

    Raises:
        TransientError: The next try goes on.
        PermanentError: A person has to change something.
    """
    request = request_of(params, dag_run, events)
    chosen = settings()
    with (
        closing(BackupsDb(SharedDbHook().conninfo())) as ledger,
        closing(vault(chosen)) as store,
    ):
        take = Take(ledger, source(chosen), store, chosen.recipients, spool_folder(), drill_keys())
        return take.run(
            backup_id_of(dag_run.run_id), request, dag_run.run_id, on_begun=say_that_it_began
        )


def backup_id_of(run_id: str) -> uuid.UUID:
    """Return the id of the backup that a run takes: the same for each of its tries."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"x-clinica://backup_odoo/{run_id}")


def settings() -> BackupSettings:
    """Return what the Variable says."""
    return parse_settings(lookup.variable(VARIABLE))


def vault(chosen: BackupSettings) -> DriveVault:
    """Return the place that keeps backups. Close it after use."""
    return DriveHook(chosen.vault_conn_id).get_vault(chosen.folder)


def drill_keys() -> DrillKeys:
    """Return the keys that drills use."""
    return DrillKeys(_home() / "backup_keys")


def spool_folder() -> Path:
    """Return the folder where backups are made, one place for all tries."""
    return _home() / "spool" / "backups"


def source(chosen: BackupSettings) -> DumpSource:
    """Return the Odoo that is backed up.

    Raises:
        PermanentError: Its connection lacks a field.
    """
    if chosen.source == "http":
        from clinic.clients.odoo_dump_http import HttpDumpSource

        manager = _connection(MANAGER, "host", "schema", "password")
        url = manager.host if "://" in manager.host else f"http://{manager.host}"
        port = f":{manager.port}" if manager.port else ""
        return HttpDumpSource(f"{url}{port}", manager.schema, manager.password)
    from clinic.clients.odoo_dump_postgres import PostgresDumpSource

    hook = OdooDatabaseHook()
    return PostgresDumpSource(hook.conninfo(), hook.filestores() / hook.database)


def _connection(conn_id: str, *fields: str) -> Connection:
    connection = lookup.required(conn_id)
    missing = [name for name in fields if not getattr(connection, name)]
    if missing:
        raise PermanentError(
            f"Connection {conn_id!r} has no {' and no '.join(missing)}: fill it in under Admin, "
            "Connections."
        )
    return connection


def _home() -> Path:
    return Path(os.environ.get("AIRFLOW_HOME", tempfile.gettempdir()))
