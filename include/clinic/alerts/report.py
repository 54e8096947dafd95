"""A failed task's own report: one small file, which send_alerts picks up within a minute.

The failing task neither connects to anything nor waits for anything: what made it fail may be the
very system that an alert would go to. Only the standard library is imported, for every DAG is
parsed with this.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from clinic.alerts.cause import KILLED, cause_of, may_be_shown
from clinic.alerts.words import shortened

MOST_FILES: Final = 5000
"""More are not kept: nobody has picked them up, and Airflow's own tables have the failures too."""


@dataclass(frozen=True, slots=True)
class Report:
    """A task failed for good."""

    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    try_number: int
    at: datetime
    cause: str
    detail: str

    @property
    def report_id(self) -> str:
        """The try that failed, under the same name wherever it is seen."""
        return f"{self.dag_id}/{self.run_id}/{self.task_id}/{self.map_index}/{self.try_number}"


def describe(error: BaseException | str | None) -> tuple[str, str]:
    """Return the cause and the detail that an exception tells."""
    if error is None or isinstance(error, str):
        # The task's process is gone: what is here is the scheduler's own word, if any.
        return KILLED, shortened(error or "")
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    text = str(error)
    detail = text if may_be_shown(name) else type(error).__name__
    return cause_of(name, text), shortened(detail)


def write(report: Report, folder: Path) -> None:
    """Put a report into the folder: whole, or not at all."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sum(1 for _ in os.scandir(folder)) >= MOST_FILES:
        raise OSError(f"{folder} holds {MOST_FILES} reports: is send_alerts running?")
    name = f"{report.at:%Y%m%dT%H%M%S}-{uuid4().hex}"
    unfinished = folder / f"{name}.tmp"
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(report) | {"at": report.at.isoformat()}, file)
    unfinished.rename(folder / f"{name}.json")


def read_all(folder: Path) -> Iterator[tuple[Path, Report | None]]:
    """Yield what lies in the folder, the oldest first; None for what is no report."""
    for path in sorted(folder.glob("*.json")):
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            at = datetime.fromisoformat(fields.pop("at")).astimezone(UTC)
            yield path, Report(at=at, **fields)
        except (ValueError, TypeError, KeyError, AttributeError):
            yield path, None
