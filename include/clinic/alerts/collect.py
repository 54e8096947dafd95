"""Finds out what is wrong and what is right again: from tasks, and from Airflow's own tables."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from clinic.alerts import report as reports
from clinic.alerts.cause import DAG_FILE
from clinic.alerts.model import Alert, Severity
from clinic.alerts.report import Report
from clinic.alerts.runbooks import OUTAGES
from clinic.alerts.words import error_in, shortened
from clinic.errors import ClinicError

log = logging.getLogger(__name__)

TASKS: Final = "tasks"
DAG_FILES: Final = "dag_files"
SYSTEMS: Final = "systems"
LOOK: Final = "failed_tasks"

OWN_WORD_FIRST: Final = timedelta(seconds=45)
"""So long a failed task has to say why, before its failure is counted without a reason."""
OVERLAP: Final = timedelta(minutes=5)
FIRST_LOOK: Final = timedelta(hours=1)
AWAY_AFTER: Final = timedelta(minutes=3)
"""So long a system may be away without a word: it is restarted, or updated."""
ASLEEP_AFTER: Final = timedelta(minutes=10)
"""So long nobody looked, and everything was off: a system gets its time to start anew."""


class Ledger(Protocol):
    """Remembers what is wrong."""

    def raise_alert(
        self, alert: Alert, source: str, at: datetime, report: Report | None = None
    ) -> bool:
        """Raise an alert, or count it once more. False for a report that was counted already."""
        ...

    def resolve(self, key: str, at: datetime) -> bool:
        """Say that something is right again."""
        ...

    def resolve_others(self, source: str, still_open: Iterable[str], at: datetime) -> int:
        """Resolve what a source raised once and does not raise any more."""
        ...

    def open_alerts(self, source: str) -> list[dict[str, Any]]:
        """Return what a source has open."""
        ...

    def unknown(self, reports: Sequence[Report]) -> list[Report]:
        """Return those reports that were not counted yet."""
        ...

    def looked_to(self, name: str) -> datetime | None:
        """Return up to when was looked."""
        ...

    def set_looked_to(self, name: str, at: datetime) -> None:
        """Keep up to when was looked."""
        ...


class Airflow(Protocol):
    """Airflow's own tables."""

    def failed(self, since: datetime, until: datetime) -> list[Report]:
        """Return the tasks that failed for good within that time."""
        ...

    def recovered(self, dag_ids: Iterable[str]) -> dict[tuple[str, str], datetime]:
        """Return when each task of these DAGs last succeeded."""
        ...

    def known_dags(self, dag_ids: Iterable[str]) -> set[str]:
        """Return which of these DAGs Airflow still has a file of."""
        ...

    def import_errors(self) -> dict[str, str]:
        """Return the files that Airflow cannot read."""
        ...


def take_reports(ledger: Ledger, folder: Path) -> int:
    """Count what failed tasks wrote down, and remove it; return how many."""
    taken = 0
    for path, found in reports.read_all(folder):
        if found is None:
            log.warning("%s is no report of a failed task; it is removed", path)
        elif ledger.raise_alert(alert_of(found), TASKS, found.at, found):
            taken += 1
        path.unlink(missing_ok=True)  # a kill before this: it is known when it comes again
    return taken


def look(ledger: Ledger, airflow: Airflow, now: datetime) -> int:
    """Count what failed without a word, resolve what works again; return how many failed."""
    since, until = ledger.looked_to(LOOK), now - OWN_WORD_FIRST
    failed = airflow.failed(since - OVERLAP if since else now - FIRST_LOOK, until)
    silent = ledger.unknown(failed)
    for each in silent:
        ledger.raise_alert(alert_of(each), TASKS, each.at, each)
    _look_at_files(ledger, airflow, now)
    _resolve(ledger, airflow, now)
    ledger.set_looked_to(LOOK, until)
    return len(silent)


def watch(
    ledger: Ledger, cause: str, title: str, trouble: ClinicError | None, now: datetime
) -> None:
    """Raise an alert of a system that has not answered for a while; resolve it once it does.

    Args:
        ledger: The ledger.
        cause: The system.
        title: What people call it.
        trouble: What came back when it was asked; None when it answered.
        now: The time.
    """
    name, key = f"answered/{cause}", f"system/{cause}"
    answered_at, looked_at = ledger.looked_to(name), ledger.looked_to(LOOK)
    is_awake = looked_at is not None and now - looked_at < ASLEEP_AFTER
    if trouble is None or answered_at is None or not is_awake:
        ledger.set_looked_to(name, now)
    if trouble is None:
        ledger.resolve(key, now)
    elif answered_at is not None and is_awake and now - answered_at >= AWAY_AFTER:
        said = shortened(str(trouble))
        alert = Alert(key, cause, Severity.WARNING, title, said, OUTAGES)
        known = {one["key"] for one in ledger.open_alerts(SYSTEMS)}
        ledger.raise_alert(alert, SYSTEMS, now if key in known else answered_at)


def alert_of(report: Report) -> Alert:
    """Return the alert that a failed task is."""
    return Alert(
        key=f"dag/{report.dag_id}/{report.task_id}",
        cause=report.cause,
        severity=Severity.WARNING,
        title=f"{report.dag_id}.{report.task_id}",
        detail=report.detail,
        runbook=f"{report.dag_id}.md",
    )


def _look_at_files(ledger: Ledger, airflow: Airflow, now: datetime) -> None:
    broken = airflow.import_errors()
    known = {alert["key"] for alert in ledger.open_alerts(DAG_FILES)}
    for name, trace in broken.items():
        key = f"dag_file/{name}"
        if key in known:
            continue  # it is not broken once more each minute
        said = error_in(trace, name)
        alert = Alert(key, DAG_FILE, Severity.WARNING, name, said, "send_alerts.md")
        ledger.raise_alert(alert, DAG_FILES, now)
    ledger.resolve_others(DAG_FILES, [f"dag_file/{name}" for name in broken], now)


def _resolve(ledger: Ledger, airflow: Airflow, now: datetime) -> None:
    """Resolve the tasks that succeeded since, and those whose DAG was taken away."""
    waiting = ledger.open_alerts(TASKS)
    if not waiting:
        return
    dag_ids = sorted({alert["dag_id"] for alert in waiting})
    recovered, known = airflow.recovered(dag_ids), airflow.known_dags(dag_ids)
    for alert in waiting:
        at = recovered.get((alert["dag_id"], alert["task_id"]))
        if (at is not None and at > alert["last_at"]) or alert["dag_id"] not in known:
            ledger.resolve(alert["key"], now)
