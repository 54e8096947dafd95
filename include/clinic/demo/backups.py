"""The backups' part of ``make demo``: one is taken, looked for where it should be, and restored.

Airflow does both; what is printed was read afterwards from the vault, the shared database and Odoo.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

import httpx
from rich.console import Console

from clinic.demo.load import Odoo
from clinic.errors import PermanentError, TransientError

BACKUP_S: Final = 900.0
DRILL_S: Final = 1800.0
NOTE: Final = "make demo"
_AGE: Final = b"age-encryption.org/v1\n"
_SPANISH: Final = {"lang": "es_ES", "tz": "Europe/Madrid"}


class Airflow(Protocol):
    """Starts runs and follows them: :class:`clinic.demo.airflow_api.AirflowApi`."""

    def start(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Start a run and return its id."""
        ...

    def follow(self, dag_id: str, run_id: str, timeout_s: float, on_state: Any) -> None:
        """Return once a run has succeeded."""
        ...


class Ledger(Protocol):
    """Where backups are kept: :class:`clinic.clients.backups_db.BackupsDb`."""

    def recent(self, most: int) -> list[dict[str, Any]]:
        """Return the attempts begun last."""
        ...

    def last_drill(self) -> dict[str, Any] | None:
        """Return the last drill."""
        ...


def show_backups(
    airflow: Airflow, ledger: Ledger, odoo: Odoo, ca_file: str, console: Console
) -> None:
    """Take a backup and hold a drill, and print what came of both.

    Raises:
        PermanentError: What was found is not what a backup is.
        TransientError: Something is out of reach, or took too long.
    """
    console.print()
    console.print("[bold]A backup of Odoo, restored as a drill[/bold]")
    run_id, backup_s = _run(
        airflow, "backup_odoo", {"kind": "full", "note": NOTE}, BACKUP_S, console
    )
    row = next((row for row in ledger.recent(20) if row["run_id"] == run_id), None)
    if row is None or row["state"] != "stored":
        raise PermanentError(
            f"The run {run_id} of backup_odoo succeeded, and `backups` has no stored row of it. "
            "Look at its log in Airflow."
        )
    _say(console, "backup", f"{row['name']}: {_mb(row['size_bytes'])}, {backup_s:.1f} s")
    tables = row["manifest"]["tables"]
    files = (row["manifest"]["filestore"] or {}).get("files", 0)
    _say(
        console,
        "holds",
        f"{len(tables)} tables with {sum(tables.values()):,} rows, and {files:,} files",
    )
    size_bytes, sha256, head = _fetched(row["url"], ca_file)
    if (size_bytes, sha256) != (row["size_bytes"], row["encrypted_sha256"]) or head != _AGE:
        raise PermanentError(
            f"What lies at {row['url']} is not what was uploaded. Take another backup, and look "
            "who changed it."
        )
    _say(console, "in Drive", f"{row['url']}")
    _say(console, "", f"fetched: encrypted (age), SHA-256 as sent: {sha256[:16]}…")
    _say_what_odoo_shows(odoo, str(row["backup_id"]), console)
    _, drill_s = _run(airflow, "drill_restore", {}, DRILL_S, console)
    drill = ledger.last_drill()
    if drill is None or not drill["passed"]:
        raise PermanentError("The drill's run succeeded, and `restore_drills` says otherwise.")
    _say(
        console,
        "restored",
        f"{drill['name']}: an Odoo answered on it after {drill['restore_s']} s; the whole drill "
        f"{drill_s:.1f} s",
    )
    _say(
        console,
        "compared",
        f"{drill['tables_compared']} tables, {drill['rows_compared']:,} rows, "
        f"{drill['files_compared']:,} files: {len(drill['differences'])} differences",
    )


def _run(
    airflow: Airflow, dag_id: str, conf: Mapping[str, Any], timeout_s: float, console: Console
) -> tuple[str, float]:
    began = time.monotonic()
    with _waiting(console, dag_id) as say:
        run_id = airflow.start(dag_id, conf)
        airflow.follow(dag_id, run_id, timeout_s, say)
    return run_id, time.monotonic() - began


@contextmanager
def _waiting(console: Console, dag_id: str) -> Iterator[Any]:
    """Show how long it has taken: a running clock on a terminal, a line at each change else."""
    began, known = time.monotonic(), ""
    with console.status(f"Airflow: {dag_id}") as status:

        def say(state: str) -> None:
            nonlocal known
            text = f"Airflow: {dag_id} {state}, {time.monotonic() - began:.0f} s"
            status.update(text)
            if state != known and not console.is_terminal:
                _say(console, "", text)
            known = state

        yield say


def _fetched(url: str, ca_file: str) -> tuple[int, str, bytes]:
    """Return size, SHA-256 and first line of the file at an address of Drive's stand-in."""
    digest, size_bytes, head = hashlib.sha256(), 0, b""
    try:
        with httpx.stream(
            "GET",
            url,
            verify=ssl.create_default_context(cafile=ca_file),
            timeout=60,
            trust_env=False,
        ) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                head = head or chunk[: len(_AGE)]
                size_bytes += len(chunk)
                digest.update(chunk)
    except httpx.HTTPError as error:
        raise TransientError(
            f"Looking at the backup in Drive's stand-in: {type(error).__name__} at {url}. Look at "
            "`make logs SERVICE=drive`."
        ) from error
    return size_bytes, digest.hexdigest(), head


def _say_what_odoo_shows(odoo: Odoo, backup_id: str, console: Console) -> None:
    """Print the row of Odoo's own list."""
    (shown,) = odoo.call(
        "clinic.backup",
        "search_read",
        [["backup_id", "=", backup_id]],
        ["state", "size", "url", "requester"],
        context=_SPANISH,
    ) or [None]
    if shown is None or shown["state"] != "stored" or not shown["url"]:
        raise TransientError(
            "Odoo does not show the backup as stored. Look at the task `tell` of backup_odoo."
        )
    _say(
        console, "in Odoo", f"Copias de seguridad: {shown['size']}, pedida por {shown['requester']}"
    )


def _say(console: Console, name: str, text: str) -> None:
    console.print(f"  {name:<10}{text}", markup=False, highlight=False, soft_wrap=True)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
