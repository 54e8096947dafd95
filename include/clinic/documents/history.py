"""What happened to a document before its message came: Odoo writes it into the message's headers.

Headers are anybody's to write, and nothing depends on these: one that cannot be read is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

_ODOO: Final = "Odoo"
_LONGEST: Final = 100
# What happened, the header that says when, and the one that says by whom.
_STEPS: Final = (
    ("made", "x-made-at", "x-made-by"),
    ("rendered", "x-rendered-at", ""),
    ("sent_again", "x-sent-again-at", "x-sent-again-by"),
    ("published", "cloudEvents:time", ""),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to a document."""

    state: str
    at: datetime
    actor: str


def steps_of(headers: Mapping[str, Any]) -> list[Step]:
    """Return what happened to a document in Odoo: made, rendered, sent again, published.

    >>> steps_of({"x-made-at": "2026-11-24T10:00:00+00:00", "x-rendered-at": "soon"})
    [Step(state='made', at=datetime.datetime(2026, 11, 24, 10, 0, tzinfo=datetime.timezone.utc), \
actor='Odoo')]
    """
    steps = []
    for state, when, who in _STEPS:
        at = _instant(headers.get(when))
        if at is not None:
            by = headers.get(who)
            is_name = isinstance(by, str) and by.isprintable() and 0 < len(by) <= _LONGEST
            steps.append(Step(state, at, f"{_ODOO}: {by}" if is_name else _ODOO))
    return steps


def _instant(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return at if at and at.tzinfo else None
