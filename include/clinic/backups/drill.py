"""The weekly proof: the newest backup is restored, compared, and Odoo runs on it.

Whatever happens, what was made for it is removed, and its outcome is kept.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from clinic.backups.compare import Comparison, Difference
from clinic.backups.restore import Databases, Restore
from clinic.errors import ClinicError, PermanentError

_FEWEST_PDF_BYTES = 1000


class Odoo(Protocol):
    """An Odoo that can be started: :class:`clinic.clients.odoo_process.OdooProgram`."""

    def running(self, database: str) -> AbstractContextManager[str]: ...  # noqa: D102
    def login_form(self, url: str) -> str: ...  # noqa: D102
    def render_report(self, database: str) -> tuple[str, Path]: ...  # noqa: D102


class Parameters(Databases, Protocol):
    """Databases whose Odoo can be told where it is."""

    def set_parameter(self, database: str, key: str, value: str) -> None: ...  # noqa: D102


@dataclass(slots=True)
class Outcome:
    """What a drill found."""

    restore_s: float = 0
    """From the first byte until Odoo answered."""
    total_s: float = 0
    comparison: Comparison = field(default_factory=Comparison)
    login_page: str = ""
    report_printed: str = ""
    report_bytes: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether all was equal and Odoo ran on it."""
        return not self.comparison.differences and bool(self.report_printed)

    def as_json(self) -> dict[str, Any]:
        """Return it as it is kept."""
        return {
            "passed": self.passed,
            "restore_s": round(self.restore_s, 1),
            "total_s": round(self.total_s, 1),
            "compared": self.comparison.as_json(),
            "login_page": self.login_page,
            "report_printed": self.report_printed,
            "report_bytes": self.report_bytes,
            "seconds": dict(self.seconds),
        }


def refused(error: PermanentError) -> Outcome:
    """Return the outcome of a drill with a backup that could not even be opened."""
    outcome = Outcome()
    outcome.comparison.differences.append(_refusal(error))
    return outcome


def _refusal(error: PermanentError) -> Difference:
    return Difference("restoring it", "", str(error))


def run_drill(restore: Restore, databases: Parameters, odoo: Odoo) -> Outcome:
    """Restore into a scratch database, compare, run Odoo on it, and remove all of it.

    What differs, and an Odoo that does not run, are the drill's outcome, not its error.

    Raises:
        TransientError: The drill could not be held; trying again may help.
    """
    began = time.monotonic()
    outcome = Outcome()
    try:
        with restore.alone():
            restore.sweep()
            try:
                _hold(restore, databases, odoo, outcome, began)
            finally:
                databases.drop(restore.scratch)
    except PermanentError as error:
        if not outcome.comparison.differences:
            outcome.comparison.differences.append(_refusal(error))
    # After a TransientError the spool stays: the next try need not download it all again.
    restore.forget()
    outcome.seconds = restore.journal.seconds
    outcome.total_s = time.monotonic() - began
    return outcome


def _hold(
    restore: Restore, databases: Parameters, odoo: Odoo, outcome: Outcome, began: float
) -> None:
    # What a killed try left has been neutralised, perhaps, and differs by that.
    databases.drop(restore.scratch)
    restore.load_all()
    with restore.step("compare", "comparing every table and file with the manifest"):
        outcome.comparison = restore.compare()
    if outcome.comparison.differences:
        return
    restore.neutralise()
    try:
        with restore.step("odoo", "starting Odoo on it"), odoo.running(restore.scratch) as url:
            outcome.login_page = odoo.login_form(url)
            outcome.restore_s = time.monotonic() - began
            # wkhtmltopdf fetches styles from there; else it would ask the Odoo that is in use.
            databases.set_parameter(restore.scratch, "report.url", url)
            with restore.step("report", "printing a report"):
                what, pdf = odoo.render_report(restore.scratch)
                content = pdf.read_bytes()
    except ClinicError as error:
        outcome.comparison.differences.append(Difference("Odoo did not run on it", "", str(error)))
        return
    outcome.report_bytes = len(content)
    if content.startswith(b"%PDF-") and len(content) >= _FEWEST_PDF_BYTES:
        outcome.report_printed = what
    else:
        outcome.comparison.differences.append(
            Difference(f"report {what}", "a PDF", f"{len(content)} bytes of something else")
        )
