"""Outages, and when people are told of one: a pure rule over what is known.

An outage is one cause. It opens with the first alert of that cause and closes once all of its
alerts have been quiet for a while, so that what fails and recovers in turn is one outage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from clinic.alerts.model import Severity

REMIND_AFTER: Final = timedelta(hours=24)
QUIET: Final = timedelta(minutes=10)
LONGEST_QUIET: Final = timedelta(hours=6)

_RANK: Final = {Severity.WARNING: 0, Severity.CRITICAL: 1}


class Kind(StrEnum):
    """What a message says of an outage."""

    OPENED = "opened"
    WORSE = "worse"
    REMINDER = "reminder"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Part:
    """One alert of an outage."""

    key: str
    source: str
    severity: Severity
    title: str
    detail: str
    runbook: str
    dag_id: str | None
    task_id: str | None
    run_id: str | None
    map_index: int | None
    count: int
    first_at: datetime
    last_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Outage:
    """One cause, what it did, and what people were told of it."""

    outage_id: str
    cause: str
    first_at: datetime
    closed_at: datetime | None
    parts: tuple[Part, ...]
    told_at: datetime | None
    told_severity: Severity | None
    closed_lately: int
    """How often the same cause closed within the last day."""

    @property
    def severity(self) -> Severity:
        """The worst of what is open, or of everything once nothing is."""
        parts = [part for part in self.parts if part.resolved_at is None] or self.parts
        return max((part.severity for part in parts), key=_RANK.__getitem__)

    @property
    def last_at(self) -> datetime:
        """When it was last seen."""
        return max(part.last_at for part in self.parts)

    @property
    def count(self) -> int:
        """How often something failed."""
        return sum(part.count for part in self.parts)

    @property
    def dags(self) -> tuple[str, ...]:
        """Every DAG that failed, by name."""
        return tuple(sorted({part.dag_id for part in self.parts if part.dag_id}))

    def quiet_since(self) -> datetime | None:
        """Return when the last alert was resolved; None while one is open."""
        times = [part.resolved_at for part in self.parts if part.resolved_at is not None]
        return max(times) if len(times) == len(self.parts) else None


def next_message(outage: Outage, now: datetime) -> Kind | None:
    """Return what people have to be told now; see :func:`is_over` for the end.

    >>> QUIET < REMIND_AFTER
    True
    """
    if outage.quiet_since() is not None:
        return Kind.CLOSED if is_over(outage, now) and outage.told_at else None
    if outage.told_at is None or outage.told_severity is None:
        return Kind.OPENED
    if _RANK[outage.severity] > _RANK[outage.told_severity]:
        return Kind.WORSE
    return Kind.REMINDER if now - outage.told_at >= REMIND_AFTER else None


def is_over(outage: Outage, now: datetime) -> bool:
    """Say whether an outage has been quiet for long enough to be closed.

    Each time that the same cause comes back within a day, it has to be quiet for twice as long, so
    that a system that comes and goes sends fewer and fewer messages.
    """
    since = outage.quiet_since()
    needed = min(QUIET * 2 ** min(outage.closed_lately, 10), LONGEST_QUIET)
    return since is not None and now - since >= needed


def messages(outages: Iterable[Outage], now: datetime) -> Iterator[tuple[Outage, Kind]]:
    """Yield what people have to be told now, the worst first."""
    due = [(outage, kind) for outage in outages if (kind := next_message(outage, now)) is not None]
    return iter(sorted(due, key=lambda one: (-_RANK[one[0].severity], one[0].first_at)))
