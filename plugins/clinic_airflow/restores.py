"""Restoring backups and holding drills, wired to Airflow's connections."""

from __future__ import annotations

import logging
import uuid
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow.sdk.exceptions import AirflowSkipException
from clinic.backups import restore as use_case
from clinic.backups.drill import refused, run_drill
from clinic.backups.model import BackupKind
from clinic.backups.restore import Found, Restore, Tell, Wish
from clinic.backups.unpack import parse_identity
from clinic.clients.backups_db import BackupsDb
from clinic.clients.odoo_process import OdooProgram
from clinic.clients.odoo_restore import OdooRestore
from clinic.errors import ClinicError, PermanentError, TransientError

from clinic_airflow import backups, lookup
from clinic_airflow.hooks.odoo_database import OdooDatabaseHook
from clinic_airflow.hooks.shared_db import SharedDbHook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clinic.backups.vault import Vault

log = logging.getLogger(__name__)

IDENTITY: Final = "backup_identity"
_SHOWN: Final = 50
_NEUTRALISE: Final = {"when it is a copy": None, "yes": True, "no": False}


def list_backups(params: Mapping[str, Any], ti: Any) -> str:
    """Hand on which backup is meant, or which there are to choose from; return the next task."""
    wanted = (params["backup"] or "").strip()
    with closing(BackupsDb(SharedDbHook().conninfo())) as ledger:
        rows = ledger.stored()
    if not rows:
        raise PermanentError(
            "There is no stored backup in `backups`. If that table was lost, `clinic backup adopt` "
            "lists what is in the vault."
        )
    if not wanted:
        shown = [
            use_case.choice(row["name"], row["taken_at"], row["size_bytes"])
            for row in rows[:_SHOWN]
        ]
        ti.xcom_push(key="options", value=shown)
        return "choose"
    if wanted == use_case.NEWEST:
        database = OdooDatabaseHook().database
        full = [
            row
            for row in rows
            if row["kind"] == BackupKind.FULL.value and row["database"] == database
        ]
        wanted = full[0]["name"] if full else wanted
    if wanted not in {row["name"] for row in rows}:
        raise PermanentError(
            f"There is no stored backup {wanted!r}. Leave the field empty to choose from a list."
        )
    ti.xcom_push(key="backup", value=wanted)
    return "decide"


def next_step(params: Mapping[str, Any], ti: Any) -> str:
    """Return the next task: ``approve`` where a database has the target's name."""
    target, name = params["target"], _chosen(ti)
    databases = _databases(OdooDatabaseHook().filestores())
    databases.check_target(target)
    if not databases.exists(target):
        return "restore"
    question = (
        f"La base de datos **{target}** ya existe. Si se aprueba, pasa a llamarse "
        f"`{target}_before_<hora>` y se conserva con sus archivos; **{name}** toma su nombre. "
        "Quien trabaje en ella se queda sin conexión unos segundos y luego ve los datos de la "
        "copia. Si se rechaza, no cambia nada.\n\n"
        f"*Database **{target}** is there already. Approve, and it is renamed to "
        f"`{target}_before_<time>` and kept, together with its files; **{name}** takes its name. "
        "Whoever works in it is cut off for some seconds, and sees the older data afterwards. "
        "Reject, and nothing changes.*"
    )
    ti.xcom_push(key="question", value=question)
    return "approve"


def restore_backup(params: Mapping[str, Any], dag_run: Any, ti: Any) -> dict[str, Any]:
    """Restore what was chosen; return the report.

    Raises:
        TransientError: The next try goes on.
        PermanentError: A person has to change something; what is in use was not touched.
    """
    approval = ti.xcom_pull(task_ids="approve")
    wish = Wish(
        uuid.uuid5(uuid.NAMESPACE_URL, f"x-clinica://restore_odoo/{dag_run.run_id}"),
        params["target"],
        _NEUTRALISE[params["neutralise"]],
        may_replace=bool(approval),
    )
    person = dag_run.triggering_user_name or "airflow"
    with ExitStack() as stack:
        ledger = stack.enter_context(closing(BackupsDb(SharedDbHook().conninfo())))
        vault = stack.enter_context(closing(backups.vault(backups.settings())))
        row = _row(ledger, _chosen(ti))
        ledger.start_restore(
            wish.restore_id,
            row["backup_id"],
            purpose="restore",
            target=wish.target,
            requested_by=person,
        )
        with _kept(ledger, wish.restore_id, ti):
            job = Restore(
                _found(vault, row),
                vault,
                parse_identity(_identity(row["backup_id"])),
                wish,
                _databases(OdooDatabaseHook().filestores()),
                OdooProgram(
                    OdooDatabaseHook().odoo_command(),
                    spool_folder() / str(wish.restore_id) / "odoo",
                ),
                spool_folder(),
                ledger=ledger,
                tell=Tell(log.info),
            )
            report = job.run()
        ledger.finish_restore(wish.restore_id, report=report)
    text = use_case.as_text(report)
    log.info("restored:\n%s", text)
    return report | {"text": text}


def hold_drill(dag_run: Any, ti: Any) -> dict[str, Any]:
    """Restore the newest full backup into a scratch database, run Odoo on it, and keep how it was.

    Raises:
        TransientError: It could not be held; the next try holds it anew.
        PermanentError: It was held, and something differed; or there is no backup.
        AirflowSkipException: There is no backup yet.
    """
    drill_id = uuid.uuid5(uuid.NAMESPACE_URL, f"x-clinica://drill_restore/{dag_run.run_id}")
    scratch = f"drill_{drill_id.hex[:8]}"
    database = OdooDatabaseHook().database
    with ExitStack() as stack:
        ledger = stack.enter_context(closing(BackupsDb(SharedDbHook().conninfo())))
        vault = stack.enter_context(closing(backups.vault(backups.settings())))
        row = ledger.newest_stored(database, BackupKind.FULL)
        if row is None:
            said = f"There is no full backup of {database} to hold a drill with."
            if dag_run.run_type == "scheduled":
                # A new installation holds last Sunday's drill at once, before its first backup.
                # That there is none is for check_backups to say, once.
                raise AirflowSkipException(said)
            raise PermanentError(f"{said} Run backup_odoo first.")
        ledger.start_restore(
            drill_id,
            row["backup_id"],
            purpose="drill",
            target=scratch,
            requested_by=dag_run.triggering_user_name or "schedule",
        )
        odoo = OdooProgram(
            OdooDatabaseHook().odoo_command(), spool_folder() / str(drill_id) / "odoo"
        )
        databases = _databases(odoo.filestores)
        with _kept(ledger, drill_id, ti):
            try:
                job = Restore(
                    _found(vault, row),
                    vault,
                    parse_identity(_identity(row["backup_id"])),
                    Wish(drill_id, scratch, neutralise=True),
                    databases,
                    odoo,
                    spool_folder(),
                    ledger=ledger,
                    tell=Tell(log.info),
                    scratch=scratch,
                )
            except PermanentError as error:
                outcome = refused(error)  # a drill that was not passed has its row, too
            else:
                outcome = run_drill(job, databases, odoo)
        differences = outcome.comparison.as_json()["differences"]
        # The row of the drill refers to that of the restore.
        ledger.add_drill(
            drill_id,
            row["backup_id"],
            passed=outcome.passed,
            restore_s=round(outcome.restore_s, 1),
            total_s=round(outcome.total_s, 1),
            tables_compared=outcome.comparison.tables,
            rows_compared=outcome.comparison.rows,
            files_compared=outcome.comparison.files,
            differences=differences,
        )
        told = outcome.as_json() | {"backup": row["name"]}
        error = None if outcome.passed else "; ".join(map(str, outcome.comparison.differences[:5]))
        ledger.finish_restore(drill_id, error=error, report=told)
    if error:
        raise PermanentError(
            f"The drill was not passed: {row['name']} did not come back as it was stored. Do not "
            f"rely on this backup: take another, and see drill_restore.md. {error}"
        )
    return told


def spool_folder() -> Path:
    """Return the folder where archives are opened, one place for all tries."""
    return backups.spool_folder().parent / "restores"


class _kept:
    """Keeps in the ledger that a restore failed: at once, or after its last try."""

    def __init__(self, ledger: BackupsDb, restore_id: uuid.UUID, ti: Any) -> None:
        self._ledger = ledger
        self._restore_id = restore_id
        self._is_last = ti.try_number > ti.max_tries

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> Literal[False]:
        is_over = isinstance(error, PermanentError) or self._is_last
        if isinstance(error, ClinicError) and is_over:
            try:
                self._ledger.finish_restore(self._restore_id, error=str(error))
            except TransientError as trouble:  # the error itself is what has to be known
                log.warning("not kept that the restore failed: %s", trouble)
        return False


def _chosen(ti: Any) -> str:
    """Return the name of the backup that was given, or chosen from the list."""
    given = ti.xcom_pull(task_ids="look", key="backup")
    return str(given or ti.xcom_pull(task_ids="choose")).split(" ", maxsplit=1)[0]


def _row(ledger: BackupsDb, name: str) -> dict[str, Any]:
    for row in ledger.stored():
        if row["name"] == name:
            return row
    raise PermanentError(f"Backup {name} is not stored any more; it may have expired meanwhile.")


def _found(vault: Vault, row: Mapping[str, Any]) -> Found:
    files = [vault.get(row[key]) for key in ("file_id", "manifest_file_id")]
    archive, manifest = files
    if archive is None or manifest is None:
        raise PermanentError(
            f"Backup {row['name']} is not in the vault any more: somebody deleted it. Look in the "
            "trash there, or choose another."
        )
    found = use_case.opened(vault, archive, manifest)
    if found.manifest.encrypted_sha256 != row["encrypted_sha256"]:
        raise PermanentError(
            f"Backup {row['name']} in the vault is not the one that was stored. Nothing was "
            "changed; choose another, and find out who can write to the vault."
        )
    return found


def _identity(backup_id: uuid.UUID) -> str:
    if drill_key := backups.drill_keys().identity(backup_id):
        return drill_key
    connection = lookup.connection(IDENTITY)
    password = connection.password if connection else None
    if not password:
        raise PermanentError(
            "The key of this backup is not here, for it is not the newest. Add a connection "
            f"{IDENTITY} (any type) with the private key (AGE-SECRET-KEY-…) as its password, run "
            "this again, and delete the connection afterwards."
        )
    return password


def _databases(filestores: Path) -> OdooRestore:
    return OdooRestore(OdooDatabaseHook().conninfo(), filestores)
