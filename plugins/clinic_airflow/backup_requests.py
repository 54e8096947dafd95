"""Backups asked for in Odoo, and what Odoo is told of them, wired to Airflow's connections."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

from clinic.backups.model import BackupKind
from clinic.backups.request import SCHEDULE, Request, read_messages
from clinic.backups.tell import tell_odoo as use_case
from clinic.clients.backups_db import BackupsDb
from clinic.errors import ClinicError

from clinic_airflow.assets import BACKUP_REQUESTS
from clinic_airflow.hooks.odoo import OdooHook
from clinic_airflow.hooks.shared_db import SharedDbHook

log = logging.getLogger(__name__)

ODOO: Final = "odoo_backups"


def request_of(params: Mapping[str, Any], dag_run: Any, events: Any) -> Request:
    """Return what a run of backup_odoo is to back up, and for whom.

    Args:
        params: The form: ``kind`` and ``note``.
        dag_run: The run, which knows who started it.
        events: ``triggering_asset_events`` of the task's context.

    Raises:
        PermanentError: It was started by a message that is no request.
    """
    if dag_run.run_type == "asset_triggered":
        return read_messages(event.extra["payload"] for event in events[BACKUP_REQUESTS])
    person = SCHEDULE if dag_run.run_type == "scheduled" else dag_run.triggering_user_name
    return Request(
        kind=BackupKind(params["kind"]),
        note=params["note"] or "",
        requested_by=person or "airflow",
    )


def say_that_it_began() -> None:
    """Let Odoo's list show a backup that is under way; one that cannot be told is told later."""
    try:
        tell_odoo()
    except ClinicError as error:
        log.warning("the backup goes on, and Odoo is told at its end: %s", error)


def tell_odoo() -> int:
    """Bring Odoo's list of backups up to date, and return how many it was told of.

    Raises:
        TransientError: Odoo or the shared database is out of reach.
        PermanentError: Odoo refuses the report.
    """
    with (
        closing(BackupsDb(SharedDbHook().conninfo())) as ledger,
        closing(OdooHook(ODOO).get_conn()) as odoo,
    ):
        count = use_case(ledger, odoo)
    log.info("told Odoo of %d backups", count)
    return count
