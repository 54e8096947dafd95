"""What Airflow's side reports about a backup, checked. Plain Python, no Odoo."""

import uuid
from datetime import UTC, datetime

STATES = {"running", "stored", "failed", "expired"}
KINDS = {"full", "database", "filestore"}
_TEXTS = ("name", "url", "note", "requested_by", "error")
_TIMES = ("taken_at", "verified_at", "expired_at", "drilled_at")


class ReportError(ValueError):
    """A report that is not as docs/reference/backups-in-odoo.md says; it names what is wrong."""


def checked(report):
    """Return a report as the fields of clinic.backup, and what it is known by.

    Raises:
        ReportError: It is not valid.
    """
    if not isinstance(report, dict):
        raise ReportError("a report is an object")
    for name, allowed in (("state", STATES), ("kind", KINDS)):
        if report.get(name) not in allowed:
            raise ReportError(f"{name} is one of {', '.join(sorted(allowed))}")
    if not isinstance(report.get("database"), str) or not report["database"]:
        raise ReportError("database is a text")
    values = {name: report[name] for name in ("state", "kind", "database")}
    values["backup_id"] = _uuid("backup_id", report.get("backup_id"))
    if report.get("request_id") is not None:
        values["request_id"] = _uuid("request_id", report["request_id"])
    for name in _TEXTS:
        if not isinstance(report.get(name), str | None):
            raise ReportError(f"{name} is a text")
        values[name] = report.get(name) or False
    if values["url"] and not values["url"].startswith(("https://", "http://")):
        raise ReportError("url is a web address")
    for name in (*_TIMES, "updated_at"):
        values[name] = _instant(name, report.get(name))
    if not isinstance(report.get("size_bytes"), int | None):
        raise ReportError("size_bytes is a number")
    values["size_bytes"] = report.get("size_bytes") or 0
    if not isinstance(report.get("drill_passed"), bool | None):
        raise ReportError("drill_passed is true or false")
    drills = {True: "passed", False: "failed", None: False}
    values["drill"] = drills[report.get("drill_passed")]
    return values


def _uuid(name, value):
    try:
        return str(uuid.UUID(value))
    except (TypeError, ValueError, AttributeError) as error:
        raise ReportError(f"{name} is a UUID") from error


def _instant(name, value):
    """Return an instant in UTC and without a zone, as Odoo keeps it."""
    if value is None:
        return False
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise ReportError(f"{name} is an instant") from error
    if at.tzinfo is None:
        raise ReportError(f"{name} is an instant with its offset")
    return at.astimezone(UTC).replace(tzinfo=None)
