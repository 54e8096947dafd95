"""What people read of an outage: Spanish first, English below.

An e-mail, an activity in Odoo and a webhook say the same: what happened, since when, how often,
which DAGs, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from clinic.alerts.model import Severity
from clinic.alerts.outage import Kind, Outage, Part
from clinic.alerts.settings import Settings

MOST_PARTS: Final = 20
"""More are counted, not listed."""

# What a cause is called, Spanish and English.
_CAUSES: Final = {
    "odoo": ("Odoo no responde", "Odoo does not answer"),
    "broker": ("RabbitMQ no responde", "RabbitMQ does not answer"),
    "shared_db": (
        "La base de datos compartida no responde",
        "The shared database does not answer",
    ),
    "drive": ("Google Drive no responde", "Google Drive does not answer"),
    "nextcloud": ("Nextcloud no responde", "Nextcloud does not answer"),
    "keycloak": ("Keycloak no responde", "Keycloak does not answer"),
    "mail": ("El servidor de correo no responde", "The mail server does not answer"),
    "webhook": ("El webhook de alertas no responde", "The webhook for alerts does not answer"),
    "airflow": ("El servidor de Airflow no responde", "Airflow's own server does not answer"),
    "killed": (
        "Hay tareas que se cortaron sin decir por qué",
        "Tasks ended without a word: killed, or out of memory",
    ),
    "dag_file": (
        "Airflow no puede leer algún fichero de DAG",
        "Airflow cannot read a file of DAGs",
    ),
}
_SEVERITIES: Final = {
    Severity.CRITICAL: ("CRÍTICO", "CRITICAL"),
    Severity.WARNING: ("AVISO", "WARNING"),
}
_KINDS: Final = {
    Kind.OPENED: ("", ""),
    Kind.WORSE: ("ha empeorado: ", "got worse: "),
    Kind.REMINDER: ("sigue así: ", "still so: "),
    Kind.CLOSED: ("resuelto: ", "resolved: "),
}
_WORDS: Final = {
    "since": ("Desde", "Since"),
    "until": ("Hasta", "Until"),
    "seen": ("Visto por última vez", "Last seen"),
    "times": ("Veces", "Times"),
    "dags": ("DAG afectados", "DAGs affected"),
    "what": ("Qué ha pasado", "What happened"),
    "do": ("Qué hacer", "What to do"),
    "more": ("y {} más", "and {} more"),
    "task": ("Ha fallado la tarea {} de {}", "Task {} of {} failed"),
    "over": (
        "Todo vuelve a funcionar; no hace falta hacer nada.",
        "Everything works again; there is nothing to do.",
    ),
    "log": ("registro", "log"),
}
_CLINIC_TIME: Final = ZoneInfo("Europe/Madrid")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message, ready for each channel."""

    subject: str
    text: str
    payload: dict[str, Any]
    """For programs: the body of the webhook."""
    link: str


class Renderer:
    """Makes messages.

    Args:
        settings: Where runbooks are.
        airflow_url: Airflow's address as people use it.
    """

    def __init__(self, settings: Settings, airflow_url: str) -> None:
        self._settings = settings
        self._airflow_url = airflow_url.rstrip("/")

    def render(self, outage: Outage, kind: Kind, at: datetime) -> Rendered:
        """Return the message about an outage, as decided at that time."""
        subject = f"[Clínica] {self._headline(outage, kind, 0)}"
        text = "\n\n--\n\n".join(self._body(outage, kind, language) for language in (0, 1))
        return Rendered(subject, f"{text}\n", self._payload(outage, kind, at), self._link(outage))

    def _headline(self, outage: Outage, kind: Kind, language: int) -> str:
        severity = _SEVERITIES[outage.severity][language]
        what = f"{_KINDS[kind][language]}{_title(outage, language)}"
        count = f" ({len(outage.dags)} DAG)" if len(outage.dags) > 1 else ""
        return f"{severity}: {what}{count}"

    def _body(self, outage: Outage, kind: Kind, language: int) -> str:
        say = {name: words[language] for name, words in _WORDS.items()}
        lines = [self._headline(outage, kind, language), ""]
        lines.append(f"{say['since']}: {_time(outage.first_at)}")
        if kind is Kind.CLOSED:
            lines.append(f"{say['until']}: {_time(outage.quiet_since() or outage.last_at)}")
        else:
            lines.append(f"{say['seen']}: {_time(outage.last_at)}")
        lines.append(f"{say['times']}: {outage.count}")
        if outage.dags:
            lines.append(f"{say['dags']}: {', '.join(outage.dags)}")
        lines += ["", f"{say['what']}:"]
        for part in outage.parts[:MOST_PARTS]:
            lines += self._part(part, language, say)
        if len(outage.parts) > MOST_PARTS:
            lines.append(f"  {say['more'].format(len(outage.parts) - MOST_PARTS)}")
        lines += ["", f"{say['do']}:"]
        if kind is Kind.CLOSED:
            lines.append(f"  {say['over']}")
        else:
            lines += [f"  {self._settings.runbook(name)}" for name in _runbooks(outage.parts)]
        return "\n".join(lines)

    def _part(self, part: Part, language: int, say: dict[str, str]) -> list[str]:
        lines = [f"* {_part_title(part, language)} (×{part.count}, {_time(part.last_at)})"]
        if part.detail:
            lines.append(f"  {part.detail}")
        if link := self._run(part):
            lines.append(f"  {say['log']}: {link}")
        return lines

    def _run(self, part: Part) -> str:
        """Return where Airflow shows the failed run of a task."""
        if not (part.dag_id and part.run_id and part.task_id):
            return ""
        link = (
            f"{self._airflow_url}/dags/{quote(part.dag_id, safe='')}/runs/"
            f"{quote(part.run_id, safe='')}/tasks/{quote(part.task_id, safe='')}"
        )
        mapped = part.map_index is not None and part.map_index >= 0
        return f"{link}/mapped/{part.map_index}" if mapped else link

    def _link(self, outage: Outage) -> str:
        return next((link for part in outage.parts if (link := self._run(part))), self._airflow_url)

    def _payload(self, outage: Outage, kind: Kind, at: datetime) -> dict[str, Any]:
        # Standard Webhooks: a type, a time, and the data.
        return {
            "type": f"alert.{kind.value}",
            "timestamp": at.isoformat(),
            "data": {
                "outage_id": outage.outage_id,
                "cause": outage.cause,
                "severity": outage.severity.value,
                "title": {"es": _title(outage, 0), "en": _title(outage, 1)},
                "first_at": outage.first_at.isoformat(),
                "last_at": outage.last_at.isoformat(),
                "closed_at": outage.closed_at and outage.closed_at.isoformat(),
                "count": outage.count,
                "dags": list(outage.dags),
                "alerts": [
                    {
                        "key": part.key,
                        "severity": part.severity.value,
                        "state": "open" if part.resolved_at is None else "resolved",
                        "detail": part.detail,
                        "count": part.count,
                        "first_at": part.first_at.isoformat(),
                        "last_at": part.last_at.isoformat(),
                        "runbook": self._settings.runbook(part.runbook),
                        "run": self._run(part) or None,
                    }
                    for part in outage.parts[:MOST_PARTS]
                ],
                "alerts_total": len(outage.parts),
            },
        }


def _title(outage: Outage, language: int) -> str:
    if known := _CAUSES.get(outage.cause):
        return known[language]
    first = _part_title(outage.parts[0], language)
    return first if len(outage.parts) == 1 else f"{first} (+{len(outage.parts) - 1})"


def _part_title(part: Part, language: int) -> str:
    if part.task_id and part.dag_id:
        return _WORDS["task"][language].format(part.task_id, part.dag_id)
    known = _CAUSES.get(part.key.removeprefix("alerts/"))
    return known[language] if known else part.title


def _runbooks(parts: Sequence[Part]) -> list[str]:
    return list(dict.fromkeys(part.runbook for part in parts))


def _time(at: datetime) -> str:
    """Return a time as the clinic's clocks show it.

    >>> _time(datetime(2026, 7, 1, 10, 30, tzinfo=UTC))
    '2026-07-01 12:30 CEST'
    """
    return at.astimezone(_CLINIC_TIME).strftime("%Y-%m-%d %H:%M %Z")
