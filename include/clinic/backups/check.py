"""What is wrong with the backups just now: each breach in one sentence, with what to do about it.

A pure function of what was found, so that each sentence can be seen in a test. Texts are Spanish
first, then English: an administrator reads them in a message.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from clinic.backups.settings import BackupSettings
from clinic.backups.survey import Sighting, Survey
from clinic.backups.vault import Space

NIGHTS: Final = 7
"""For so many nights there must be space."""
MEASURED: Final = 4
"""The last so many drills say how long a restore takes."""
TELL_WITHIN: Final = timedelta(hours=2)
CONSENT_WARNING: Final = timedelta(days=3)

type Row = Mapping[str, Any]
type Severity = Literal["critical", "warning"]


@dataclass(frozen=True, slots=True)
class Breach:
    """Something that was promised of backups and does not hold. A key is one thing, still wrong."""

    key: str
    severity: Severity
    title: str
    detail: str
    runbook: str = "check_backups.md"


@dataclass(frozen=True, slots=True)
class Known:
    """What the shared database and this machine tell.

    Attributes:
        database: Odoo's database.
        stored: Rows of all stored backups, of every database, the newest first.
        drills: The last drills, the newest first.
        untold: Rows of backups that Odoo was not told of.
        has_drill_key: Whether the newest full backup can be opened by the drill.
        is_new: Whether the first backup of a new installation is only on its way.
    """

    database: str
    stored: Sequence[Row]
    drills: Sequence[Row]
    untold: Sequence[Row]
    has_drill_key: bool
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """What the vault tells.

    Attributes:
        survey: Which files are there.
        space: How full it is.
        consent_ends_at: When a person's consent ends; None where it does not, or is not known.
    """

    survey: Survey
    space: Space
    consent_ends_at: datetime | None


def known_breaches(known: Known, settings: BackupSettings, now: datetime) -> list[Breach]:
    """Return what is wrong as far as this machine knows."""
    newest = _newest_full(known.stored, known.database, now)
    found = [
        None if newest is None and known.is_new else _age(newest, settings.rpo_h, now),
        *_drills(known, settings, now),
        _restore_time(known.drills, settings.rto_h),
        _untold(known.untold, now),
    ]
    if newest is not None and not known.has_drill_key:
        found.append(
            Breach(
                "backups/drill-key",
                "warning",
                "No se puede probar la última copia / The newest backup cannot be drilled",
                f"Falta la clave de prueba de {newest['name']}: haga otra copia completa. / Its "
                "drill key is missing: take another full backup.",
            )
        )
    return [one for one in found if one is not None]


def vault_breaches(looked: Looked, known: Known, now: datetime) -> list[Breach]:
    """Return what is wrong in the vault."""
    found = [
        _files(
            "backups/gone",
            looked.survey.gone,
            "Faltan copias en Drive / Backups are missing in Drive",
            "sáquelas de la papelera de Drive, hoy mismo / take them out of Drive's trash, today",
        ),
        _files(
            "backups/damaged",
            looked.survey.damaged,
            "Hay copias dañadas en Drive / Backups are damaged in Drive",
            "haga otra copia completa y mire quién tocó el archivo / take another full backup, and "
            "look who changed the file",
        ),
        _files(
            "backups/strangers",
            looked.survey.strangers,
            "Hay archivos desconocidos entre las copias / Unknown files lie among the backups",
            "no se tocan: adóptelos o sáquelos / they are not touched: adopt or remove them",
            severity="warning",
        ),
        _consent(looked.consent_ends_at, now),
    ]
    sound = {one.backup_id for one in looked.survey.good}
    rows = [row for row in known.stored if row["backup_id"] in sound]
    found.append(_space(rows, known.database, looked.space, now))
    return [one for one in found if one is not None]


def refused(trouble: str) -> Breach:
    """Return the breach that nobody can log in to the vault, or not with the rights it takes."""
    return Breach(
        "backups/vault-refused",
        "critical",
        "Drive no acepta la cuenta de las copias / Drive refuses the backups' account",
        f"Siga `clinic drive check`. / Run `clinic drive check`. {trouble}",
    )


# What is known here


def _newest_full(stored: Sequence[Row], database: str, now: datetime) -> Row | None:
    """Return the newest full backup whose time is not yet to come."""
    fulls = [
        row
        for row in stored
        if (row["database"], row["kind"]) == (database, "full") and row["taken_at"] <= now
    ]
    return max(fulls, key=lambda row: row["taken_at"], default=None)


def _age(newest: Row | None, rpo_h: float, now: datetime) -> Breach | None:
    if newest is None:
        return Breach(
            "backups/rpo",
            "critical",
            "No hay ninguna copia completa / There is no full backup",
            "Haga una ahora: DAG backup_odoo, o el botón de Odoo. / Take one now: DAG backup_odoo, "
            "or the button in Odoo.",
            "backup_odoo.md",
        )
    age_h = (now - newest["taken_at"]) / timedelta(hours=1)
    if age_h <= rpo_h:
        return None
    return Breach(
        "backups/rpo",
        "critical",
        "La última copia completa es demasiado antigua / The last full backup is too old",
        f"Tiene {age_h:.0f} h; el límite son {rpo_h:g} h. Mire por qué falló backup_odoo y láncelo "
        f"otra vez. / It is {age_h:.0f} h old, the limit is {rpo_h:g} h. See why backup_odoo "
        "failed, and run it again.",
        "backup_odoo.md",
    )


def _drills(known: Known, settings: BackupSettings, now: datetime) -> list[Breach]:
    found: list[Breach] = []
    if known.drills and not known.drills[0]["passed"]:
        drill = known.drills[0]
        found.append(
            Breach(
                "backups/drill-failed",
                "critical",
                "La última prueba de restauración falló / The last restore drill failed",
                f"{drill['name']} no se pudo restaurar igual que era. Haga otra copia completa y "
                f"pruébela. / {drill['name']} did not come back as it was. Take another full "
                "backup, and drill it.",
                "drill_restore.md",
            )
        )
    proven_at = max((one["finished_at"] for one in known.drills if one["passed"]), default=None)
    # Without any drill the time runs from the first backup that could have been drilled.
    since = proven_at or min((row["taken_at"] for row in known.stored), default=None)
    if since is None:
        return found
    age_d, limit_d = (now - since) / timedelta(days=1), settings.drill_max_age_d
    if age_d > limit_d:
        found.append(
            Breach(
                "backups/drill-age",
                "warning",
                "Ninguna copia se ha probado últimamente / No backup was proven lately",
                f"La última prueba buena fue hace {age_d:.0f} días; el límite son {limit_d:g}. "
                f"Lance drill_restore. / The last good drill was {age_d:.0f} days ago, the limit "
                f"is {limit_d:g}. Run drill_restore.",
                "drill_restore.md",
            )
        )
    return found


def _restore_time(drills: Sequence[Row], rto_h: float) -> Breach | None:
    measured = [float(one["restore_s"]) / 3600 for one in drills if one["passed"]][:MEASURED]
    if not measured or max(measured) <= rto_h:
        return None
    return Breach(
        "backups/rto",
        "warning",
        "Restaurar tarda más de lo prometido / A restore takes longer than promised",
        f"Medido en las pruebas: {max(measured):.1f} h; el límite son {rto_h:g} h. / Measured in "
        f"drills: {max(measured):.1f} h, the limit is {rto_h:g} h. A faster machine or a smaller "
        "filestore, or another promise (rto_h).",
    )


def _untold(untold: Sequence[Row], now: datetime) -> Breach | None:
    late = [row for row in untold if now - row["updated_at"] > TELL_WITHIN]
    if not late:
        return None
    return Breach(
        "backups/untold",
        "warning",
        "La lista de copias de Odoo no está al día / Odoo's list of backups is out of date",
        f"Odoo no sabe de {len(late)} copias; mire la conexión odoo_backups. / Odoo was not told "
        f"of {len(late)} backups; look at the connection odoo_backups.",
        "backup_odoo.md",
    )


# What the vault tells


def _files(
    key: str,
    sightings: Sequence[Sighting],
    title: str,
    what_to_do: str,
    severity: Severity = "critical",
) -> Breach | None:
    if not sightings:
        return None
    names = ", ".join(one.name for one in sightings[:2])
    more = f" (+{len(sightings) - 2})" if len(sightings) > 2 else ""
    return Breach(key, severity, title, f"{names}{more}: {what_to_do}.")


def _consent(ends_at: datetime | None, now: datetime) -> Breach | None:
    if ends_at is None or ends_at - now > CONSENT_WARNING:
        return None
    when = ends_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    return Breach(
        "backups/consent",
        "critical" if ends_at <= now else "warning",
        "El permiso de Google para las copias caduca / Google's consent for backups ends",
        f"Caduca el {when} UTC: `clinic drive authorize`, y publique la aplicación en Google. / It "
        f"ends at {when} UTC: `clinic drive authorize`, and publish the app at Google.",
    )


def _space(rows: Sequence[Row], database: str, space: Space, now: datetime) -> Breach | None:
    """Compare what is left with what the next nights need.

    Nothing is taken off for what expires: the trash counts too, until it is emptied.
    """
    if space.limit_bytes is None:
        return None
    nights = needed(rows, database, now)
    left, need = max(space.limit_bytes - space.used_bytes, 0), sum(nights)
    if not nights or left >= need:
        return None
    enough_for = sum(1 for night in range(len(nights)) if sum(nights[: night + 1]) <= left)
    return Breach(
        "backups/space",
        "critical" if enough_for == 0 else "warning",
        "Drive se está llenando / Drive is filling up",
        f"Quedan {_gb(left)}: bastan para {enough_for} de {NIGHTS} noches ({_gb(need)}). Vacíe la "
        f"papelera, amplíe el espacio o guarde menos copias. / {_gb(left)} are left, enough for "
        f"{enough_for} of {NIGHTS} nights ({_gb(need)}). Empty the trash, buy space, keep fewer.",
    )


def needed(rows: Sequence[Row], database: str, now: datetime) -> list[int]:
    """Return how much each of the next nights needs, as the last month's full backups grew."""
    fulls = sorted(
        (
            ((row["taken_at"] - now) / timedelta(days=1), row["size_bytes"])
            for row in rows
            if (row["database"], row["kind"]) == (database, "full")
            and timedelta(0) <= now - row["taken_at"] <= timedelta(days=30)
        ),
    )
    if not fulls:
        return []
    days, sizes = zip(*fulls, strict=True)
    growth = 0.0
    if days[-1] - days[0] >= 2:  # of an afternoon nobody can tell
        growth = max(statistics.linear_regression(days, sizes).slope, 0.0)
    return [round(sizes[-1] + growth * night) for night in range(1, NIGHTS + 1)]


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1000**3:.1f} GB"
