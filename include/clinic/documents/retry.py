"""When a message comes again: the retry tiers of ``rabbitmq/definitions.json``."""

from __future__ import annotations

from typing import Final

TIER_DELAYS_S: Final = (10, 60, 600, 3600)
LAST_ATTEMPT: Final = 28  # 10 s, 1 min, 10 min, then once an hour: about a day


def tier(attempt: int, asked_s: float | None = None) -> int:
    """Return the tier that a message waits in after its attempt of this number failed; 1 to 4.

    Args:
        attempt: The number of the attempt, 1 being the first.
        asked_s: For how long the other side asked to be left alone, if it did.
    """
    by_attempt = min(attempt, len(TIER_DELAYS_S))
    long_enough = (n for n, delay in enumerate(TIER_DELAYS_S, 1) if delay >= (asked_s or 0))
    return max(by_attempt, next(long_enough, len(TIER_DELAYS_S)))


def delay_s(attempt: int, asked_s: float | None = None) -> int:
    """Return how long it waits there."""
    return TIER_DELAYS_S[tier(attempt, asked_s) - 1]
