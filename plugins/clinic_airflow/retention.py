"""Old backups given up, and all backups checked, wired to Airflow's connections."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from clinic.backups import check, survey
from clinic.backups import expire as use_case
from clinic.backups.model import BackupKind
from clinic.clients.backups_db import BackupsDb
from clinic.clients.drive_upload import NeedsPersonError
from clinic.errors import ClinicError, PermanentError

from clinic_airflow import backups, lookup
from clinic_airflow.alerts import raise_breaches
from clinic_airflow.hooks.drive import DriveHook
from clinic_airflow.hooks.odoo_database import OdooDatabaseHook
from clinic_airflow.hooks.shared_db import SharedDbHook

if TYPE_CHECKING:
    from clinic.backups.settings import BackupSettings

log = logging.getLogger(__name__)

KNOWN_SOURCE: Final = "check_backups"
VAULT_SOURCE: Final = "check_backups/vault"


def expire(params: Mapping[str, Any], dag_run: Any) -> dict[str, Any]:
    """Give old backups up, and return how many; by hand only say which, unless told otherwise.

    Raises:
        TransientError: Database or vault failed for now; the next try goes on.
        PermanentError: A person has to change something.
    """
    chosen = backups.settings()
    # The form's box means runs by hand: nobody is there at night to take the tick away.
    dry_run = bool(params["dry_run"]) and dag_run.run_type == "manual"
    with (
        closing(BackupsDb(SharedDbHook().conninfo())) as memory,
        closing(backups.vault(chosen)) as vault,
    ):
        outcome = use_case.expire(
            memory, vault, chosen.retention, datetime.now(UTC), dry_run=dry_run
        )
    return {"dry_run": dry_run, **outcome.as_dict()}


def check_backups(last_success: datetime | None) -> list[str]:
    """Make an alert of everything that is wrong with the backups; return the alerts' keys.

    Args:
        last_success: When the last good check began. Without one the installation is new, and that
            there is no backup yet is no news.

    Raises:
        TransientError: The database failed, or the vault is out of reach for now; what is known
            without it was checked, and what is open about it stays open.
        PermanentError: A person has to change something.
    """
    chosen = backups.settings()
    now = datetime.now(UTC)
    known = _known(chosen, is_first=last_success is None)
    trouble: ClinicError | None = None
    in_vault: list[check.Breach] | None = None
    try:
        looked = _look(chosen, now)
    except (NeedsPersonError, PermanentError) as error:
        in_vault = [check.refused(str(error))]
    except ClinicError as error:
        trouble = error
    else:
        in_vault = check.vault_breaches(looked, known, now)
        sound = {one.backup_id for one in looked.survey.good}
        known = replace(known, stored=[row for row in known.stored if row["backup_id"] in sound])
    found = check.known_breaches(known, chosen, now)
    raise_breaches(found, KNOWN_SOURCE)
    if in_vault is not None:
        raise_breaches(in_vault, VAULT_SOURCE)
        found += in_vault
    for breach in found:
        log.warning("%s: %s. %s", breach.key, breach.title, breach.detail)
    if trouble is not None:
        raise trouble
    return [breach.key for breach in found]


def _known(chosen: BackupSettings, *, is_first: bool) -> check.Known:
    if chosen.source == "http":
        database = lookup.required(backups.MANAGER).schema
    else:
        database = OdooDatabaseHook().database
    with closing(BackupsDb(SharedDbHook().conninfo())) as memory:
        newest = memory.newest_stored(database, BackupKind.FULL)
        stored = memory.stored()
        is_begun = any(row["state"] == "running" for row in memory.recent(1))
        return check.Known(
            database=database,
            stored=stored,
            drills=memory.drills(20),
            untold=memory.untold(1000),
            has_drill_key=newest is None
            or backups.drill_keys().identity(newest["backup_id"]) is not None,
            is_new=not stored and (is_first or is_begun),
        )


def _look(chosen: BackupSettings, now: datetime) -> check.Looked:
    hook = DriveHook(chosen.vault_conn_id)
    with (
        closing(BackupsDb(SharedDbHook().conninfo())) as memory,
        closing(hook.get_vault(chosen.folder)) as vault,
    ):
        log.info("%s", vault.check())
        return check.Looked(
            survey=survey.look(memory, vault, now),
            space=vault.space(),
            consent_ends_at=hook.consent_ends_at(),
        )
