"""Give old backups up: first in the database, then their files go into the vault's trash.

Were it the other way round, a kill in between would leave a backup on the list that cannot be
restored. This way it leaves files of a backup that is no longer on the list, and the next run
sweeps those: :data:`clinic.backups.survey.GRACE`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from clinic.backups import survey
from clinic.backups.retention import Plan, plan_expiry
from clinic.backups.settings import Retention
from clinic.backups.vault import Vault

log = logging.getLogger(__name__)


class Memory(survey.Memory, Protocol):
    """What is asked of :class:`clinic.clients.backups_db.BackupsDb`."""

    def expire(self, backup_id: UUID) -> bool:
        """Note that a backup is given up; False where it must not be just now."""
        ...

    def running_restores(self) -> Sequence[survey.Row]:
        """Return the restores at work."""
        ...

    def last_drill(self, *, only_passed: bool = False) -> survey.Row | None:
        """Return the last drill, or the last that passed."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found and done; of a dry run, what would be."""

    plan: Plan
    survey: survey.Survey
    expired: tuple[str, ...]
    spared: tuple[str, ...]
    """Planned, and then not given up: meanwhile a restore of it began, or newer ones are gone."""

    def as_dict(self) -> dict[str, int]:
        """Return the numbers."""
        return {
            "kept": len(self.plan.keep) + len(self.spared),
            "expired": len(self.expired),
            "spared": len(self.spared),
            "swept": len(self.survey.remains),
            "gone": len(self.survey.gone),
            "damaged": len(self.survey.damaged),
            "strangers": len(self.survey.strangers),
        }


def expire(
    memory: Memory, vault: Vault, retention: Retention, now: datetime, *, dry_run: bool
) -> Outcome:
    """Plan, say the plan, and carry it out.

    What is not in the vault, or is not what was stored, is not counted: no good backup is given up
    in its favour.

    Raises:
        TransientError: Database or vault failed for now. What is done stays done.
        PermanentError: A person has to change something.
    """
    found = survey.look(memory, vault, now)
    plan = plan_expiry(found.good, now, retention, _protected(memory))
    _say(plan, found)
    planned = [one.backup for one in reversed(plan.expire)]  # the oldest first
    if dry_run:
        log.info("this was a dry run: nothing was changed")
        return Outcome(plan, found, tuple(one.name for one in planned), ())
    for file in found.remains:
        vault.trash(file.file_id)
    expired: list[str] = []
    spared: list[str] = []
    for backup in planned:
        if not memory.expire(backup.backup_id):
            log.warning("%s stays after all: it is the newest, or is being restored", backup.name)
            spared.append(backup.name)
            continue
        row = memory.get(backup.backup_id)
        if row is not None:
            # The manifest first: an archive without one is no backup to anybody.
            vault.trash(row["manifest_file_id"])
            vault.trash(row["file_id"])
        expired.append(backup.name)
    return Outcome(plan, found, tuple(expired), tuple(spared))


def _protected(memory: Memory) -> dict[UUID, str]:
    protected = {row["backup_id"]: "it is being restored" for row in memory.running_restores()}
    if drill := memory.last_drill(only_passed=True):
        protected.setdefault(drill["backup_id"], "the last one that a drill proved")
    return protected


def _say(plan: Plan, found: survey.Survey) -> None:
    log.info("kept: %d, given up: %d", len(plan.keep), len(plan.expire))
    for line in plan.lines():
        log.info("%s", line)
    for file in found.remains:
        log.info("sweep  %s: its backup was given up, or failed", file.name)
    for one in (*found.gone, *found.damaged):
        log.error("%s: %s", one.name, one.what)
    for one in found.strangers:
        log.warning("not touched: %s: %s", one.name, one.what)
