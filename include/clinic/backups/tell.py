"""Odoo's list of backups is told what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

from clinic.errors import PermanentError

BATCH: Final = 100


class Ledger(Protocol):
    """Where backups are kept: :class:`clinic.clients.backups_db.BackupsDb`."""

    def untold(self, most: int) -> list[dict[str, Any]]:
        """Return what Odoo's list does not show as it is, longest waiting first."""
        ...

    def told(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Note that Odoo was told of ``rows``; what changed meanwhile stays untold."""
        ...


class Odoo(Protocol):
    """Odoo, as the user ``clinic_backups``: :class:`clinic.clients.odoo.OdooClient`."""

    def call(self, model: str, method: str, /, **arguments: Any) -> Any:
        """Call a method, and return what it returned."""
        ...


def tell_odoo(ledger: Ledger, odoo: Odoo) -> int:
    """Report what Odoo does not know yet, and return how many backups that were.

    Killed between the two, it reports once more, which changes nothing in Odoo.

    Raises:
        TransientError: Odoo or the shared database is out of reach.
        PermanentError: Odoo refuses the report.
    """
    count = 0
    while rows := ledger.untold(BATCH):
        answers = odoo.call("clinic.backup", "report", backups=[_report(row) for row in rows])
        known = {answer["backup_id"] for answer in answers}
        if missing := [row for row in rows if str(row["backup_id"]) not in known]:
            raise PermanentError(
                f"Telling Odoo of backups: it did not answer for {missing[0]['backup_id']}. Update "
                "its addon clinic_backups."
            )
        ledger.told(rows)
        count += len(rows)
        if len(rows) < BATCH:
            break  # what changed meanwhile is told by the next run
    return count


def _report(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in row.items() if value is not None}


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:
            return value
