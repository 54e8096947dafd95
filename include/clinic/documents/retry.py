"""When a message comes again: the retry tiers of ``rabbitmq/definitions.json``."""

from __future__ import annotations

from typing import Final

TIER_DELAYS_S: Final = (10, 60, 600, 3600)
LAST_ATTEMPT: Final = 28  # 10 s, 1 min, 10 min, then once an hour: about a day


def tier(attempt: int) -> int:
    """Return the tier that a message waits in after its attempt of this number failed; 1 to 4."""
    return min(attempt, len(TIER_DELAYS_S))


def delay_s(attempt: int) -> int:
    """Return how long it waits there."""
    return TIER_DELAYS_S[tier(attempt) - 1]
