"""What goes wrong on demand, by ``POST /_emulator/faults``, and a log of what was asked.

A rule is a JSON object: ``method`` (default any) and ``path`` (a part of the path with its query,
default any), ``nth`` (the first matching request it applies to, default 1), ``times`` (to how many,
default all) and its ``kind``, by default ``status``:

- ``status`` with ``reason``, ``message`` and ``retry_after``: answered instead of doing anything
- ``reset``: the connection breaks after ``after_bytes`` of the body; what came before is kept
- ``partial``: a 308 that keeps only ``keep_bytes`` of a chunk
- ``lost_reply``: everything is done, and the connection breaks before the answer
- ``corrupt``: one byte is wrong, in what is stored or in what is downloaded
- ``expire_tokens``, ``expire_session``: they are unknown from now on
- ``folder_gone``: somebody deleted the folder that a file should go to
- ``delay``: nothing but ``delay_s``, which goes with every kind
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from drive_emulator.errors import DriveError, invalid

KINDS = frozenset(
    {
        "status", "reset", "partial", "lost_reply", "corrupt", "expire_tokens",
        "expire_session", "folder_gone", "delay",
    }
)  # fmt: skip
_TYPES: dict[str, type | tuple[type, ...]] = {
    "method": str, "path": str, "nth": int, "times": int, "kind": str, "status": int,
    "reason": str, "message": str, "retry_after": int, "after_bytes": int, "keep_bytes": int,
    "delay_s": (int, float),
}  # fmt: skip


@dataclass(slots=True)
class Fault:
    """One rule, and how often it may still apply."""

    method: str = ""
    path: str = ""
    kind: str = "status"
    nth: int = 1
    times: float = math.inf
    status: int = 503
    reason: str = "backendError"
    message: str = ""
    retry_after: int | None = None
    after_bytes: int = 0
    keep_bytes: int = 0
    delay_s: float = 0

    @classmethod
    def read(cls, rule: Any) -> Fault:
        """Return a rule, or raise a 400."""
        if not isinstance(rule, dict) or not set(rule) <= set(_TYPES):
            raise invalid(f"A rule has only {sorted(_TYPES)}")
        for name, value in rule.items():
            if not isinstance(value, _TYPES[name]):
                raise invalid(f"{name} of a rule has the wrong type")
        fault = cls(**rule)
        if fault.kind not in KINDS:
            raise invalid(f"kind is one of {sorted(KINDS)}")
        return fault

    def error(self) -> DriveError:
        """Return the answer of a ``status`` rule."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return DriveError(self.status, self.reason, self.message or self.reason, headers)


class Faults:
    """The plan, and the log."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []
        self.log: deque[dict[str, Any]] = deque(maxlen=20_000)

    def add(self, rules: Any) -> None:
        """Add rules; a wrong one refuses them all."""
        if not isinstance(rules, Sequence) or isinstance(rules, str):
            raise invalid("A list of rules is expected")
        self._rules += [Fault.read(rule) for rule in rules]

    def clear(self) -> None:
        """Let everything go well again."""
        self._rules.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the rule that applies to this request; every one that matches counts it."""
        chosen = None
        for rule in self._rules:
            if rule.method not in {"", method} or rule.path not in path:
                continue
            if rule.nth > 1:
                rule.nth -= 1
            elif rule.times > 0 and chosen is None:
                rule.times -= 1
                chosen = rule
        return chosen
