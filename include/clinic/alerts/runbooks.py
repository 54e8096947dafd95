"""What a runbook says first, Spanish and English: messages say it, so that nobody looks it up.

It stands in the runbook itself, as rows of a table: below the title for the whole runbook, below
``## <name>`` for one cause or one alert of several.

| | Español | English |
|---|---|---|
| qué falla | … | … |
| sigue funcionando | … | … |
| primer paso | … | … |
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

RUNBOOKS_DIR: Final = Path(__file__).parents[3] / "docs" / "runbooks"
OUTAGES: Final = "outages.md"
"""The runbook of what several DAGs fail for, a section for each cause."""

type InBoth = tuple[str, str]
"""Spanish, English."""

_LABELS: Final = {"qué falla": "what", "sigue funcionando": "works", "primer paso": "do"}
_HEADING: Final = re.compile(r"^## `?(?P<name>[^`]+?)`?\s*$")
_ROW: Final = re.compile(rf"^\| (?P<label>{'|'.join(_LABELS)}) \| (?P<es>.+?) \| (?P<en>.+?) \|$")
_LINK: Final = re.compile(r"\[([^\]]+)\]\([^)]+\)")


@dataclass(frozen=True, slots=True)
class FirstStep:
    """What to know and do at three in the morning."""

    what: InBoth
    """What is wrong, in words for the subject of a mail."""
    works: InBoth
    do: InBoth
    place: str
    """Where more stands: a file below docs/runbooks, and the section in it."""


ANYTHING: Final = FirstStep(
    what=("Ha fallado una tarea", "A task failed"),
    works=("Las demás tareas.", "The other tasks."),
    do=(
        "Abra el registro de la tarea (el enlace de abajo): su última frase dice qué pasó y si hay "
        "que hacer algo.",
        "Open the task's log (the link below): its last sentence says what happened, and whether "
        "there is something to do.",
    ),
    place="",
)
"""What holds of any task, also of one whose runbook says nothing or is not there."""


def of_cause(cause: str) -> FirstStep | None:
    """Return what to do first about a system that several DAGs fail for; None for other causes."""
    sections = _sections(RUNBOOKS_DIR / OUTAGES)
    return _step(sections[cause], f"{OUTAGES}#{cause}") if cause in sections else None


def of_alert(runbook: str, key: str = "") -> FirstStep:
    """Return what to do first about one alert.

    Args:
        runbook: A file below docs/runbooks.
        key: Of the alert; what no section of that name says, the whole runbook's rows say.
    """
    sections = _sections(RUNBOOKS_DIR / runbook)
    return _step(sections.get("", {}) | sections.get(key, {}), runbook)


def _step(rows: dict[str, InBoth], place: str) -> FirstStep:
    return replace(ANYTHING, place=place, **rows)


@cache
def _sections(path: Path) -> dict[str, dict[str, InBoth]]:
    found: dict[str, dict[str, InBoth]] = {}
    name = ""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:  # a message without advice is better than none
        return {}
    for line in lines:
        if heading := _HEADING.match(line):
            name = heading["name"]
        elif row := _ROW.match(line):
            label = _LABELS[row["label"]]
            found.setdefault(name, {})[label] = (_plain(row["es"]), _plain(row["en"]))
    return found


def _plain(text: str) -> str:
    """Return Markdown as a mail shows it: links without their targets, commands in quotes stay."""
    return _LINK.sub(r"\1", text)
