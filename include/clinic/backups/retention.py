"""Which backups are kept, and which are given up: grandfather, father, son.

Of each database and kind the newest backup of a day, week, month and year stands for it. Days
without a backup do not count, so that nothing expires merely because time went by, or because a
clock was wrong. Days, weeks and months are those of UTC, as in the backups' names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from clinic.backups.model import BackupKind
from clinic.backups.settings import Retention

CLOCKS_DIFFER: Final = timedelta(hours=1)
"""So far this machine's clock and the vault's may be apart."""
STORED_LATEST: Final = timedelta(days=3)
"""A backup that took longer from its snapshot to the vault has a doubtful time."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored backup, as far as it matters here."""

    backup_id: UUID
    database: str
    kind: BackupKind
    taken_at: datetime
    stored_at: datetime | None
    """By the vault's own clock; None where the vault does not say."""
    name: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of a backup, and why."""

    backup: Candidate
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to become of every backup, the newest first."""

    keep: tuple[Decision, ...]
    expire: tuple[Decision, ...]

    def lines(self) -> list[str]:
        """Return the plan as people read it, one backup a line."""
        return [
            f"{verb} {one.backup.name}: {', '.join(one.reasons)}"
            for verb, decisions in (("keep  ", self.keep), ("expire", self.expire))
            for one in decisions
        ]


def plan_expiry(
    backups: Iterable[Candidate],
    now: datetime,
    retention: Retention,
    protected: Mapping[UUID, str],
) -> Plan:
    """Decide what is to become of every backup.

    Args:
        backups: All that are stored. What is not among them is not touched.
        now: This machine's time. What seems to be of later is kept, and not counted.
        retention: How many are kept of each age.
        protected: Those that stay whatever their age, each with the reason.
    """
    doubtful: list[Decision] = []
    chains: defaultdict[tuple[str, BackupKind], list[Candidate]] = defaultdict(list)
    for backup in backups:
        if doubt := _doubt(backup, now):
            doubtful.append(Decision(backup, (doubt,)))
        else:
            chains[backup.database, backup.kind].append(backup)
    keep, expire = doubtful, list[Decision]()
    for chain in chains.values():
        chain.sort(key=_age_order, reverse=True)
        reasons = _reasons(chain, retention)
        for backup in chain:
            found = reasons[backup.backup_id]
            if backup.backup_id in protected:
                found.append(protected[backup.backup_id])
            if found:
                keep.append(Decision(backup, tuple(found)))
            else:
                expire.append(Decision(backup, (_why_not(backup, chain, retention),)))
    return Plan(_newest_first(keep), _newest_first(expire))


def _doubt(backup: Candidate, now: datetime) -> str:
    """Return why a backup's time cannot be believed; empty where it can."""
    if backup.taken_at > now + CLOCKS_DIFFER:
        return "its time is yet to come: a clock is, or was, wrong"
    if backup.stored_at is None:
        return ""
    if not -CLOCKS_DIFFER <= backup.stored_at - backup.taken_at <= STORED_LATEST:
        stored = backup.stored_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
        return f"its time is doubtful: the vault has had it since {stored} UTC"
    return ""


def _reasons(chain: Sequence[Candidate], retention: Retention) -> dict[UUID, list[str]]:
    """Return why each backup of a chain, the newest first, is kept."""
    found: dict[UUID, list[str]] = {one.backup_id: [] for one in chain}
    for place, backup in enumerate(chain[: retention.last], 1):
        found[backup.backup_id].append(f"newest {place} of {retention.last}")
    for period, most in _periods(retention):
        seen: set[str] = set()
        for backup in chain:
            label = _label(period, backup.taken_at)
            if label not in seen and len(seen) < most:
                seen.add(label)
                found[backup.backup_id].append(f"{period} {label}")
    return found


def _periods(retention: Retention) -> tuple[tuple[str, int], ...]:
    return (
        ("day", retention.daily),
        ("week", retention.weekly),
        ("month", retention.monthly),
        ("year", retention.yearly),
    )


def _label(period: str, at: datetime) -> str:
    at = at.astimezone(UTC)
    match period:
        case "day":
            return f"{at:%Y-%m-%d}"
        case "week":
            return f"{at:%G-W%V}"
        case "month":
            return f"{at:%Y-%m}"
        case _:
            return f"{at:%Y}"


def _why_not(backup: Candidate, chain: Sequence[Candidate], retention: Retention) -> str:
    day = _label("day", backup.taken_at)
    newer = next(one for one in chain if _label("day", one.taken_at) == day)
    if newer is not backup:
        return f"{newer.name} stands for {day}"
    return (
        f"older than the {retention.daily} days kept, and not the newest of one of "
        f"{retention.weekly} weeks, {retention.monthly} months, {retention.yearly} years"
    )


def _age_order(backup: Candidate) -> tuple[datetime, UUID]:
    return backup.taken_at, backup.backup_id  # as in BackupsDb


def _newest_first(decisions: Iterable[Decision]) -> tuple[Decision, ...]:
    return tuple(sorted(decisions, key=lambda one: _age_order(one.backup), reverse=True))
