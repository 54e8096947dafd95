"""Who is told of alerts, and where their runbooks are: the Variable ``clinic_alert_settings``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from clinic.errors import PermanentError

NAME: Final = "clinic_alert_settings"
EXAMPLE: Final = '{"emails": ["it@clinic.example"], "runbook_url": "https://git.clinic.example/…"}'

_ADDRESS: Final = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+\.[^\s@<>,;]+")
_KNOWN: Final = {"emails", "runbook_url"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Who is told, and what links begin with."""

    emails: tuple[str, ...] = ()
    runbook_url: str = ""
    """What ``docs/runbooks/`` is at; empty: the file is named as it lies in the repository."""

    def runbook(self, name: str) -> str:
        """Return where a runbook is."""
        return f"{self.runbook_url.rstrip('/') or 'docs/runbooks'}/{name}"


def parse_settings(text: str | None) -> Settings:
    """Return what the Variable says; without one, nobody is written to.

    >>> parse_settings('{"emails": ["It@clinic.example"]}').emails
    ('it@clinic.example',)

    Raises:
        PermanentError: It cannot be read.
    """
    if text is None or not text.strip():
        return Settings()
    try:
        said = json.loads(text)
        problem = _problem(said)
    except ValueError as error:
        problem = str(error)
    if problem:
        raise PermanentError(
            f"The Airflow Variable {NAME} cannot be read: {problem}. Write it as {EXAMPLE}"
        )
    emails = dict.fromkeys(address.lower() for address in said.get("emails", ()))
    return Settings(emails=tuple(emails), runbook_url=said.get("runbook_url", ""))


def _problem(said: object) -> str:
    if not isinstance(said, dict):
        return "it is no JSON object"
    if unknown := sorted(said.keys() - _KNOWN):
        return f"it names {', '.join(map(str, unknown))}"
    emails, runbook_url = said.get("emails", []), said.get("runbook_url", "")
    if not isinstance(emails, list) or not all(
        isinstance(address, str) and _ADDRESS.fullmatch(address) for address in emails
    ):
        return "emails is no list of addresses"
    if not isinstance(runbook_url, str) or not re.fullmatch(r"(https?://\S+)?", runbook_url):
        return "runbook_url is no web address"
    return ""
