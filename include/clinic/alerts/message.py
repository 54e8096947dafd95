"""What people read of an outage: Spanish first, English below.

An e-mail, an activity in Odoo and a webhook say the same: what is wrong, since when, what still
works, and what to do first, in the words of the runbook; details, for later, below that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from clinic.alerts.cause import DAG_FILE, KILLED
from clinic.alerts.model import Severity
from clinic.alerts.outage import Kind, Outage, Part
from clinic.alerts.runbooks import FirstStep, of_alert, of_cause
from clinic.alerts.settings import Settings

MOST_PARTS: Final = 20
"""More are counted, not listed."""
MOST_STEPS: Final = 3
BETWEEN_LANGUAGES: Final = " / "
"""What checks write between the Spanish and the English half of a text."""

NAMES_NO_SYSTEM: Final = {KILLED, DAG_FILE}
"""Causes that do not say by themselves what is wrong."""

_SEVERITIES: Final = {
    Severity.CRITICAL: ("CRÍTICO", "CRITICAL"),
    Severity.WARNING: ("AVISO", "WARNING"),
}
_KINDS: Final = {
    Kind.OPENED: ("", ""),
    Kind.WORSE: ("ha empeorado: ", "got worse: "),
    Kind.REMINDER: ("sigue así: ", "still so: "),
}
_OVER: Final = ("RESUELTO", "RESOLVED")
_WORDS: Final = {
    "since": ("Desde", "Since"),
    "until": ("Hasta", "Until"),
    "works": ("Sigue funcionando", "Still works"),
    "do": ("Primer paso", "First step"),
    "runbook": ("Guía", "Runbook"),
    "details": ("Detalles", "Details"),
    "seen": ("Visto por última vez", "Last seen"),
    "times": ("Veces", "Times"),
    "dags": ("DAG afectados", "DAGs affected"),
    "more": ("y {} más", "and {} more"),
    "task": ("Tarea {} de {}", "Task {} of {}"),
    "channel": ("Envío de alertas: {}", "Sending alerts: {}"),
    "detail": ("Detalle técnico", "Technical detail"),
    "log": ("Registro", "Log"),
    "over": (
        "Todo vuelve a funcionar; no hace falta hacer nada.",
        "Everything works again; there is nothing to do.",
    ),
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
        title = _title(outage, language)
        if kind is Kind.CLOSED:
            return f"{_OVER[language]}: {title}"
        count = f" ({len(outage.dags)} DAG)" if len(outage.dags) > 1 else ""
        return f"{_SEVERITIES[outage.severity][language]}: {_KINDS[kind][language]}{title}{count}"

    def _body(self, outage: Outage, kind: Kind, language: int) -> str:
        say = {name: words[language] for name, words in _WORDS.items()}
        lines = [self._headline(outage, kind, language), ""]
        lines.append(f"{say['since']}: {_time(outage.first_at)}")
        if kind is Kind.CLOSED:
            lines.append(f"{say['until']}: {_time(outage.quiet_since() or outage.last_at)}")
            lines += ["", say["over"]]
        else:
            if len(outage.parts) == 1 and BETWEEN_LANGUAGES in outage.parts[0].detail:
                lines += ["", _in(language, outage.parts[0].detail)]
            for step in _steps(outage):
                lines += ["", f"{say['works']}: {step.works[language]}"]
                lines += ["", f"{say['do']}: {step.do[language]}"]
                lines.append(f"{say['runbook']}: {self._settings.runbook(step.place)}")
        lines += ["", f"{say['details']}:"]
        if kind is not Kind.CLOSED:
            lines.append(f"{say['seen']}: {_time(outage.last_at)}")
        lines.append(f"{say['times']}: {outage.count}")
        if outage.dags:
            lines.append(f"{say['dags']}: {', '.join(outage.dags)}")
        for part in outage.parts[:MOST_PARTS]:
            lines += self._part(part, language, say)
        if len(outage.parts) > MOST_PARTS:
            lines.append(say["more"].format(len(outage.parts) - MOST_PARTS))
        return "\n".join(lines)

    def _part(self, part: Part, language: int, say: dict[str, str]) -> list[str]:
        name = _part_title(part, language)
        if part.task_id and part.dag_id:
            name = say["task"].format(part.task_id, part.dag_id)
        lines = [f"* {name} (×{part.count}, {_time(part.last_at)})"]
        if BETWEEN_LANGUAGES in part.detail:  # a check's own sentence
            lines.append(f"  {_in(language, part.detail)}")
        elif part.detail:
            lines.append(f"  {say['detail']}: {part.detail}")
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
                "first_steps": [
                    {
                        "still_works": {"es": step.works[0], "en": step.works[1]},
                        "do": {"es": step.do[0], "en": step.do[1]},
                        "runbook": self._settings.runbook(step.place),
                    }
                    for step in _steps(outage)
                ],
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


def _steps(outage: Outage) -> list[FirstStep]:
    """Return what to do first: one step for a system, else one for each runbook."""
    if known := of_cause(outage.cause):
        return [known]
    wrong = [part for part in outage.parts if part.resolved_at is None] or outage.parts
    return list(dict.fromkeys(of_alert(part.runbook, part.key) for part in wrong))[:MOST_STEPS]


def _title(outage: Outage, language: int) -> str:
    first, others = outage.parts[0], len(outage.parts) - 1
    known = of_cause(outage.cause)
    if known is None:
        title = _part_title(first, language)
        return f"{title} (+{others})" if others else title
    says_which = outage.cause not in NAMES_NO_SYSTEM or others
    return known.what[language] if says_which else f"{known.what[language]} ({first.title})"


def _part_title(part: Part, language: int) -> str:
    if part.task_id and part.dag_id:
        return f"{of_alert(part.runbook).what[language]} ({part.title})"
    if part.key.startswith("alerts/"):
        return _WORDS["channel"][language].format(part.key.removeprefix("alerts/"))
    return _in(language, part.title)


def _in(language: int, text: str) -> str:
    """Return the half of a check's text that is in this language.

    >>> _in(1, "Drive se está llenando / Drive is filling up")
    'Drive is filling up'
    """
    spanish, _, english = text.partition(BETWEEN_LANGUAGES)
    return (english or spanish) if language else spanish


def _time(at: datetime) -> str:
    """Return a time as the clinic's clocks show it.

    >>> _time(datetime.fromisoformat("2026-07-01T10:30:00Z"))
    '2026-07-01 12:30 CEST'
    """
    return at.astimezone(_CLINIC_TIME).strftime("%Y-%m-%d %H:%M %Z")
