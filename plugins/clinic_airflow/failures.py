"""What a task does when it fails for good: it leaves a report, and that is all.

Imported by every DAG: nothing heavy here, and nothing that connects to anything.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clinic.alerts.report import Report, describe, write

log = logging.getLogger(__name__)


def folder() -> Path:
    """Return where reports lie until send_alerts picks them up."""
    return Path(os.environ.get("AIRFLOW_HOME", tempfile.gettempdir())) / "spool" / "alerts"


def report_failure(context: Mapping[str, Any]) -> None:
    """Leave a report of a task that failed: Airflow calls this after the last try only.

    Never raises: what a task failed of must not be hidden by what its report failed of. Without a
    report, send_alerts finds the failure in Airflow's own tables, only without the reason.
    """
    try:
        ti = context["ti"]
        cause, detail = describe(context.get("exception"))
        write(
            Report(
                dag_id=ti.dag_id,
                task_id=ti.task_id,
                run_id=ti.run_id,
                map_index=-1 if ti.map_index is None else ti.map_index,
                try_number=ti.try_number,
                at=getattr(ti, "end_date", None) or datetime.now(UTC),
                cause=cause,
                detail=detail,
            ),
            folder(),
        )
    except Exception:
        log.exception("this failure's own report could not be written; the failure stands above")
