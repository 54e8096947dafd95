"""What becomes of a message that did not succeed: a copy comes again later, or is parked.

The copy is published first, then the message is acknowledged: a kill between leaves two messages,
never none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from clinic.documents.parcel import PARKING_EXCHANGE, Parcel, now_text
from clinic.documents.reasons import ParkReason
from clinic.documents.retry import LAST_ATTEMPT, tier
from clinic.errors import ParkError, TransientError

LAST_COSTLY_ATTEMPT: Final = 5  # more than an hour after the first: no short hiccup


class TooCostlyError(TransientError):
    """It took more time or memory than one message may: trying again helps if the machine was busy.

    It holds up its neighbours each time, so that it is parked sooner than others.
    """


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a message, and the exchange that it goes to."""

    exchange: str
    parcel: Parcel


def again_later(parcel: Parcel, error: TransientError, body: bytes | None = None) -> Copy:
    """Return the copy that comes again as the next attempt, from the tier it waits in.

    Args:
        parcel: The message.
        error: Why this attempt failed; it is left alone for as long as that asks for.
        body: Another body for the copy.

    Raises:
        ParkError: It was tried often enough.
    """
    attempt = parcel.attempt
    costly = isinstance(error, TooCostlyError)
    if attempt >= (LAST_COSTLY_ATTEMPT if costly else LAST_ATTEMPT):
        reason = ParkReason.TOO_COSTLY if costly else ParkReason.GAVE_UP
        raise ParkError(reason, f"After {attempt} attempts: {error}")
    headers = parcel.copy_headers(attempt=attempt + 1)
    copy = replace(parcel, headers=headers, body=parcel.body if body is None else body)
    return Copy(f"documents.retry.{tier(attempt, error.retry_after_s)}", copy)


def set_aside(parcel: Parcel, error: ParkError) -> Copy:
    """Return the copy that is parked, which says why in its own headers."""
    headers = parcel.copy_headers(
        attempt=parcel.attempt,
        x_park_reason=str(error.reason),
        x_park_detail=str(error)[:1000],
        x_parked_at=now_text(),
    )
    return Copy(PARKING_EXCHANGE, replace(parcel, headers=headers))


def killed_worker(parcel: Parcel) -> ParkError:
    """Return why a message is parked that the broker itself took out of its queue."""
    deaths = parcel.headers.get("x-death")
    death = deaths[0] if isinstance(deaths, list) and deaths else {}
    when = death.get("time") if isinstance(death, dict) else None
    return ParkError(
        ParkReason.KILLED_THE_WORKER,
        "It was delivered again and again, and each time the worker ended before it said what "
        f"became of it; the broker took it out{f' at {when:%Y-%m-%d %H:%M}' if when else ''}. Look "
        "for the end of the worker in its log before a replay.",
    )
