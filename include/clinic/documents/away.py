"""Leaving alone what is away: a store that is down need not say so to each document of a lot.

An error may be one document's own fault, though the store says that it is the store's: a file that
is too large for the space left, or one that a proxy chokes on. So one document that fails proves
nothing; two do, if none succeeded since the first of them began. Whatever succeeds refutes it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from clinic.errors import AwayError

ENOUGH: Final = 2  # failures that prove it
ASK_AGAIN_S: Final = 60.0


@dataclass(slots=True)
class _Side:
    """What is known of one other side."""

    well_at: float = float("-inf")
    failures: int = 0
    error: AwayError | None = None
    until: float = 0


class Sides:
    """The stores and Odoo, as the documents of one run found them. Several threads may use it.

    Args:
        clock: What tells the time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sides: dict[str, _Side] = {}
        self._lock = threading.Lock()

    def expect(self, name: str) -> None:
        """Return if this side may be asked.

        Raises:
            AwayError: It is away, for the reason that others met.
        """
        with self._lock:
            side = self._side(name)
            if side.error is None:
                return
            if self._clock() >= side.until:  # one more failure is enough this time
                side.error, side.failures = None, ENOUGH - 1
                return
            raise AwayError(
                side.error.reason,
                f"Put off untried, for others before it met this: {side.error}",
                retry_after_s=side.error.retry_after_s,
            )

    @contextmanager
    def asking(self, name: str, *, is_proof: bool = True) -> Iterator[None]:
        """Note what comes of asking it.

        Args:
            name: Whom.
            is_proof: Whether success shows that it is well: a full store still gives out ids.

        Raises:
            AwayError: It is away already, or this call finds it so.
        """
        self.expect(name)
        began_at = self._clock()
        try:
            yield
        except AwayError as error:
            with self._lock:
                side = self._side(name)
                if side.well_at < began_at:
                    side.failures += 1
                    if side.failures >= ENOUGH:
                        pause_s = max(ASK_AGAIN_S, error.retry_after_s or 0)
                        side.error, side.until = error, self._clock() + pause_s
            raise
        if not is_proof:
            return
        with self._lock:
            side = self._side(name)
            side.well_at, side.failures, side.error = self._clock(), 0, None

    def _side(self, name: str) -> _Side:
        return self._sides.setdefault(name, _Side())
