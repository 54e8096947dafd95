"""How long to wait before the broker is tried again."""

from __future__ import annotations

FIRST_S = 1.0
MOST_S = 30.0


class Backoff:
    """Doubles the pause from one failure to the next, up to a limit.

    Args:
        first_s: The pause after the first failure.
        most_s: The longest pause.
    """

    def __init__(self, first_s: float = FIRST_S, most_s: float = MOST_S) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self.failures = 0

    def next_s(self) -> float:
        """Count a failure, and return how long to wait after it."""
        pause = min(self._first_s * 2.0 ** min(self.failures, 30), self._most_s)
        self.failures += 1
        return pause

    def reset(self) -> None:
        """Forget the failures: it worked."""
        self.failures = 0
