"""Keeping Airflow's own database and log files small.

A ``@continuous`` DAG makes a run every few minutes: about 100,000 rows a year in dag_run and in
each of the tables that hang on it, and as many log files.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

import aiosql
import psycopg
from airflow.sdk import Connection, conf
from clinic.clients.shared_db import SQL_DIR, translated
from clinic.errors import PermanentError, TransientError

from clinic_airflow import lookup

log = logging.getLogger(__name__)

# What runs leave behind; deadline and task_reschedule go with their runs. Not among them: dag and
# dag_version (few, and the DAG list stands on them), and trigger (a deferred task waits for each).
TABLES: Final = (
    "asset_event",
    "callback",
    "dag_run",
    "import_error",
    "job",
    "log",
    "revoked_token",
    "task_instance",
    "task_instance_history",
    "task_state_store",
    "xcom",
)

# What argparse ends a program with that was called with arguments it does not know.
USAGE_ERROR: Final = 2


def clean_metadata(conn_id: str, keep_days: int, timeout_s: float = 1500) -> None:
    """Delete what runs older than ``keep_days`` left in Airflow's database, a thousand rows a time.

    The newest run of each DAG stays. Where a run began before that and still goes on, only what is
    older than that run is deleted, and the log names it. (Leaving out its DAG alone would be
    closer, but ``--exclude-dag-ids`` of Airflow 3.3.2 fails on tables without a column ``dag_id``.)

    Args:
        conn_id: The connection to Airflow's own database, as a role that may delete there.
        keep_days: How many days to keep, at least 1.
        timeout_s: How long the command may take.

    Raises:
        TransientError: The database is out of reach, or the command did not succeed.
        PermanentError: ``keep_days`` is not at least 1, the connection is wrong, or this Airflow
            has another command or other tables.
    """
    if keep_days < 1:
        raise PermanentError(f"keep_days must be at least 1, got {keep_days}")
    before = datetime.now(UTC) - timedelta(days=keep_days)
    connection = lookup.required(conn_id)
    unfinished = _oldest_unfinished(connection, before)
    if unfinished:
        dag_id, run_id, before = unfinished
        log.warning(
            "deleting only what is older than %s, because run %s of %s began then and goes on",
            before.isoformat(),
            run_id,
            dag_id,
        )
    _airflow_db_clean(connection, before, timeout_s)


def _airflow_db_clean(connection: Connection, before: datetime, timeout_s: float) -> None:
    command = [sys.executable, "-m", "airflow", "db", "clean", "--yes", "--skip-archive"]
    command += ["--tables", ",".join(TABLES), "--batch-size", "1000", "--error-on-cleanup-failure"]
    command += ["--clean-before-timestamp", before.isoformat()]
    # A task of Airflow 3 has no access to the database of Airflow; a command of its own has, when
    # it is told the address, and when it does not take itself for a task.
    environment = {
        name: value for name, value in os.environ.items() if name != "_AIRFLOW_PROCESS_CONTEXT"
    }
    environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = _address(connection, "postgresql+psycopg2")
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TransientError(
            f"airflow db clean: not done after {timeout_s:.0f} s. What it deleted stays deleted; "
            "trying again goes on."
        ) from error
    for line in (done.stdout + done.stderr).splitlines():
        if line.strip():
            log.info("airflow db clean: %s", line)
    failed = (
        f"airflow db clean: exit status {done.returncode}; its own words are above in this log."
    )
    if done.returncode == USAGE_ERROR:
        raise PermanentError(
            f"{failed} Trying again cannot help: was Airflow upgraded, and the command changed?"
        )
    if done.returncode:  # killed, or a table that could not be cleaned just now
        raise TransientError(failed)


def _oldest_unfinished(
    connection: Connection, before: datetime
) -> tuple[str, str, datetime] | None:
    """Return DAG, run and beginning of the oldest run that began before and has not ended."""
    try:
        with psycopg.connect(_address(connection, "postgresql"), connect_timeout=10) as database:
            database.execute("SET statement_timeout = '60s'")
            queries = aiosql.from_path(SQL_DIR / "airflow", "psycopg")
            run: tuple[str, str, datetime] | None = queries.oldest_unfinished_run(
                database, before=before
            )
            return run
    except psycopg.Error as error:
        raise translated(
            "Reading Airflow's database",
            error,
            "check the connection airflow_metadata under Admin, Connections, and whether Airflow "
            "was upgraded",
        ) from error


def _address(connection: Connection, scheme: str) -> str:
    login, password = quote(connection.login or "", safe=""), quote(connection.password or "", "")
    port = connection.port or 5432
    return f"{scheme}://{login}:{password}@{connection.host}:{port}/{connection.schema}"


def clean_logs(keep_days: int, folder: Path | None = None) -> int:
    """Delete log files not written to for ``keep_days``, then empty folders; return how many files.

    The log of a running task is written to, so that it stays.
    """
    if keep_days < 1:
        raise PermanentError(f"keep_days must be at least 1, got {keep_days}")
    folder = folder or Path(conf.get("logging", "base_log_folder"))
    before = time.time() - timedelta(days=keep_days).total_seconds()
    deleted = 0
    for path, folders, files in folder.walk(top_down=False):
        for name in files:
            file = path / name
            if not file.is_symlink() and name.endswith(".log") and file.stat().st_mtime < before:
                file.unlink()
                deleted += 1
        is_old = path != folder and path.stat().st_mtime < before
        if is_old and not any(path.iterdir()):
            path.rmdir()
        del folders
    log.info("log files deleted: %d under %s", deleted, folder)
    return deleted
