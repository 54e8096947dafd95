"""While the shared database is down, its own outage is mailed without it, once a day.

A file takes the place of the ledger: what was mailed to whom, so that nobody is told each minute,
nor told again by the ledger once that is back.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol
from uuid import NAMESPACE_OID, uuid4, uuid5

from clinic.alerts.collect import TASKS, alert_of
from clinic.alerts.model import Alert, Severity
from clinic.alerts.outage import REMIND_AFTER, Kind, Outage, Part
from clinic.alerts.report import Report
from clinic.alerts.words import shortened
from clinic.errors import ClinicError

log = logging.getLogger(__name__)

CAUSE: Final = "shared_db"
KEY: Final = "alerts/shared_db"
SOURCE: Final = "shared_db"
_PAUSE: Final = timedelta(minutes=5)


@dataclass(slots=True)
class Note:
    """What the file holds."""

    outage_id: str
    since: str
    detail: str
    told_at: dict[str, str] = field(default_factory=dict)
    """Address -> when it was last mailed to."""
    tried_at: dict[str, str] = field(default_factory=dict)


def read_note(file: Path) -> Note | None:
    """Return what the file holds; None where there is none, or nobody can read it."""
    try:
        return Note(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write(file: Path, note: Note) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = file.with_suffix(".tmp")
    with unfinished.open("w", encoding="utf-8") as stream:
        json.dump(asdict(note), stream)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(file)


def tell_directly(
    file: Path,
    error: ClinicError,
    reports: Iterable[Report],
    emails: Sequence[str],
    send: Callable[[str, str, Outage, Kind, datetime], None],
    now: datetime,
) -> int:
    """Mail that the shared database is down to whoever was not told within a day.

    Args:
        file: The note.
        error: What the database, or the way to it, said.
        reports: What failed meanwhile, as far as it is known.
        emails: Whom to tell.
        send: Sends to an address, under an id, a message about an outage as of a time; what is sent
            again after a kill has the same id and time, what is told the next day has others.
        now: The time.

    Returns:
        How many were mailed.
    """
    note = read_note(file) or Note(str(uuid4()), now.isoformat(), shortened(str(error)))
    outage = _outage(note, [report for report in reports if report.cause == CAUSE], now)
    told, since = 0, datetime.fromisoformat(note.since)
    for address in emails:
        last, tried = note.told_at.get(address), note.tried_at.get(address)
        if last and now - datetime.fromisoformat(last) < REMIND_AFTER:
            continue
        if tried and now - datetime.fromisoformat(tried) < _PAUSE:
            continue
        # Claimed first: who is killed now is not followed by one who mails each minute.
        note.tried_at[address] = now.isoformat()
        _write(file, note)
        due = datetime.fromisoformat(last) + REMIND_AFTER if last else since
        message_id = str(uuid5(NAMESPACE_OID, f"{note.outage_id}/{due.isoformat()}"))
        kind = Kind.REMINDER if last else Kind.OPENED
        try:
            send(address, message_id, outage, kind, due)
        except ClinicError as failed:
            log.warning("the alert could not be mailed either: %s", shortened(str(failed)))
            continue
        note.told_at[address] = now.isoformat()
        _write(file, note)
        told += 1
    _write(file, note)
    return told


def _outage(note: Note, reports: list[Report], now: datetime) -> Outage:
    since = datetime.fromisoformat(note.since)
    own = Part(
        KEY, SOURCE, Severity.CRITICAL, KEY, note.detail, "send_alerts.md",
        None, None, None, None, 1, since, now, None,
    )  # fmt: skip
    parts = {KEY: own}
    for report in reports:
        alert = alert_of(report)
        before = parts.get(alert.key)
        parts[alert.key] = Part(
            alert.key, TASKS, alert.severity, alert.title, alert.detail, alert.runbook,
            report.dag_id, report.task_id, report.run_id, report.map_index,
            before.count + 1 if before else 1, before.first_at if before else report.at,
            report.at, None,
        )  # fmt: skip
    first_at = min(part.first_at for part in parts.values())
    return Outage(note.outage_id, CAUSE, first_at, None, tuple(parts.values()), None, None, 0)


class Ledger(Protocol):
    """Remembers outages."""

    def raise_alert(self, alert: Alert, source: str, at: datetime) -> bool:
        """Raise an alert."""
        ...

    def resolve(self, key: str, at: datetime) -> bool:
        """Say that something is right again."""
        ...

    def open_outages(self) -> list[Outage]:
        """Return every outage that is not closed."""
        ...

    def tell(
        self,
        outage: Outage,
        kind: Kind,
        at: datetime,
        targets: Iterable[tuple[str, str]],
        told_already: Iterable[tuple[str, str]] = (),
    ) -> str:
        """Write down a message, to whom it goes, and who has it."""
        ...


def take_over(ledger: Ledger, file: Path, others: Iterable[tuple[str, str]], now: datetime) -> None:
    """Write into the ledger, which is back, what was mailed without it; then forget the file.

    Args:
        ledger: The ledger.
        file: The note.
        others: Channel and target of everybody who is told; those who were, are not told again.
        now: The time.
    """
    note = read_note(file)
    if note is None:
        file.unlink(missing_ok=True)
        return
    alert = Alert(KEY, CAUSE, Severity.CRITICAL, KEY, note.detail, "send_alerts.md")
    ledger.raise_alert(alert, SOURCE, datetime.fromisoformat(note.since))
    told = [("email", address) for address in note.told_at]
    for outage in ledger.open_outages():
        if outage.cause == CAUSE and outage.told_at is None and told:
            rest = [target for target in others if target not in told]
            ledger.tell(outage, Kind.OPENED, now, rest, told)
    ledger.resolve(KEY, now)
    file.unlink(missing_ok=True)
