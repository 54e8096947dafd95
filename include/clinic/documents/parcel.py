"""A message as it lies in a queue, and how its copies are addressed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

EXCHANGE: Final = "documents_exchange"
PARKING_EXCHANGE: Final = "documents.dlx"

# What a way through retry and parking leaves in the headers; a copy begins without it.
_TRACES: Final = ("x-park-", "x-parked-", "x-death", "x-first-death-", "x-last-death-")
_COUNTS: Final = frozenset({"x-delivery-count", "x-acquired-count", "x-attempt"})


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message and what it takes to acknowledge it, or to publish a copy of it."""

    tag: int
    routing_key: str
    body: bytes
    message_id: str | None = None
    type: str | None = None
    timestamp: int | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def attempt(self) -> int:
        """Which attempt this is, 1 being the first."""
        attempt = self.headers.get("x-attempt")
        return attempt if isinstance(attempt, int) and attempt > 0 else 1

    @property
    def returns(self) -> int:
        """How often it came back into its queue because whoever held it was gone."""
        count = self.headers.get("x-delivery-count")
        return count if isinstance(count, int) else 0

    def copy_headers(self, *, attempt: int, **more: str) -> dict[str, Any]:
        """Return the headers of a copy: without traces of its way, with this attempt, and more.

        Underscores of the names in ``more`` become hyphens: ``x_park_reason``.
        """
        kept = {
            name: value
            for name, value in self.headers.items()
            if not name.startswith(_TRACES) and name not in _COUNTS
        }
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return kept | {"x-attempt": attempt} | named

    def document(self) -> dict[str, Any]:
        """Return the body when it is a JSON object, and nothing when it is anything else."""
        try:
            body = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return body if isinstance(body, dict) else {}


def now_text() -> str:
    """Return this instant as messages write it."""
    return datetime.now(UTC).isoformat()
