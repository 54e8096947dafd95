"""An alert: what is wrong, since when, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How soon somebody has to look."""

    CRITICAL = "critical"  # data could be lost
    WARNING = "warning"  # today


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is wrong. The same ``key`` again is the same thing, still wrong."""

    key: str
    """What is wrong, for the machine: ``dag/backup_odoo/upload``, ``backups/rpo``."""
    cause: str
    """What is behind it, as far as it is known; alerts of one cause become one message."""
    severity: Severity
    title: str
    detail: str
    runbook: str
    """Below docs/runbooks/, such as ``backup_odoo.md``."""
