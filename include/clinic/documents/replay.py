"""Parked messages: which there are and why, and sending chosen ones on their way again.

A chosen message is copied to the exchange it first came to, as attempt 1 and without the marks of
its parking; when the broker has the copy, who replayed it and why is written down, and only then is
the parked one acknowledged. A kill in between leaves two, and the second changes nothing: the drain
knows what it has stored. Messages that were not chosen are never acknowledged; the broker puts them
back into their places.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from clinic.documents.parcel import EXCHANGE, Parcel, now_text
from clinic.documents.reasons import ParkReason
from clinic.errors import PermanentError

log = logging.getLogger(__name__)

SHOWN: Final = 20


class WorkQueue(StrEnum):
    """The queues whose messages are parked when they cannot be processed."""

    INVOICES = "invoice_queue"
    MEDICAL_RECORDS = "medical_records_queue"
    NOTIFICATIONS = "notification_queue"

    @property
    def parking(self) -> str:
        """The name of the queue where they lie."""
        return f"{self.value}.parking"

    @property
    def killed(self) -> str:
        """The name of the queue where the broker puts those that it delivered too often."""
        return f"{self.value}.killed"


@dataclass(frozen=True, slots=True)
class Parked:
    """What a person wants to know of a parked message."""

    message_id: str | None
    document_id: str | None
    revision: int | None
    document_type: str | None
    reason: str
    detail: str
    parked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which parked messages are meant: those to which everything given applies.

    Args:
        document_type: ``invoice`` or ``medical_record``; None for any.
        reason: Why they were parked; None for any.
        parked_from: Not those parked before.
        parked_to: Not those parked then or later.
        limit: Not more than so many, the oldest.
        planned_at: When the plan was made: what was parked later was not in it, and is left.
    """

    document_type: str | None = None
    reason: str | None = None
    parked_from: datetime | None = None
    parked_to: datetime | None = None
    limit: int = 1000
    planned_at: datetime | None = None

    def __post_init__(self) -> None:
        """Take times without a zone as UTC."""
        for name in ("parked_from", "parked_to", "planned_at"):
            instant = getattr(self, name)
            if instant is not None and instant.tzinfo is None:
                object.__setattr__(self, name, instant.replace(tzinfo=UTC))
        if self.limit < 1:
            raise PermanentError(f"limit must be at least 1, got {self.limit}")

    def applies_to(self, parked: Parked) -> bool:
        """Say whether a message is meant. One parked at an unknown time is in no period."""
        if self.document_type is not None and parked.document_type != self.document_type:
            return False
        if self.reason is not None and parked.reason != self.reason:
            return False
        if self.planned_at and parked.parked_at and parked.parked_at > self.planned_at:
            return False
        if self.parked_from is None and self.parked_to is None:
            return True
        return (
            parked.parked_at is not None
            and (self.parked_from is None or parked.parked_at >= self.parked_from)
            and (self.parked_to is None or parked.parked_at < self.parked_to)
        )


class ParkingLot(Protocol):
    """The parked messages of one queue."""

    def parked(self) -> Iterator[Parcel]:
        """Yield each message that lies there, once, the oldest first."""
        ...

    def publish(self, exchange: str, parcel: Parcel) -> None:
        """Publish a copy and return when the broker has it in a queue."""
        ...

    def ack(self, parcel: Parcel) -> None:
        """Let the broker forget a message."""
        ...


class ReplayLedger(Protocol):
    """Who replayed what, and why."""

    def record_replay(
        self, *, queue: str, message_id: str | None, parked: Parked, person: str, reason: str
    ) -> None:
        """Keep one replay; durable on return."""
        ...


@dataclass(slots=True)
class Plan:
    """How many messages a selection means and why they were parked; the first of them by name."""

    count: int = 0
    seen: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    first: list[Parked] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it in what JSON knows."""
        return {
            "count": self.count,
            "seen": self.seen,
            "by_reason": dict(self.by_reason),
            "first": [
                {
                    "message_id": one.message_id,
                    "document_type": one.document_type,
                    "reason": one.reason,
                    "detail": one.detail,
                    "parked_at": one.parked_at.isoformat() if one.parked_at else None,
                }
                for one in self.first
            ],
        }


def plan(lot: ParkingLot, selection: Selection) -> Plan:
    """Return what :func:`replay` would replay; nothing is changed."""
    result = Plan()
    for _, parked in _chosen(lot, selection, result):
        if len(result.first) < SHOWN:
            result.first.append(parked)
    for parked in result.first:
        log.info("would replay %s: %s (%s)", parked.message_id, parked.reason, parked.detail)
    log.info("would replay %d of %d: %s", result.count, result.seen, dict(result.by_reason))
    return result


def replay(
    lot: ParkingLot,
    ledger: ReplayLedger,
    queue: WorkQueue,
    selection: Selection,
    *,
    person: str,
    reason: str,
) -> int:
    """Replay the chosen messages and return how many it were.

    Args:
        lot: Where they lie.
        ledger: Where it is written down.
        queue: The queue they came from.
        selection: Which.
        person: Who wants it.
        reason: Why, for those who read it later.

    Raises:
        TransientError: Broker or ledger went away; what was replayed by then stays replayed.
        PermanentError: No person or no reason was given.
    """
    if not person.strip() or not reason.strip():
        raise PermanentError("A replay needs a person and a reason: say why in `why`.")
    result = Plan()
    for parcel, parked in _chosen(lot, selection, result):
        lot.publish(
            EXCHANGE,
            replace(parcel, headers=parcel.copy_headers(attempt=1, x_replayed_at=now_text())),
        )
        ledger.record_replay(
            queue=queue.value,
            message_id=parcel.message_id,
            parked=parked,
            person=person,
            reason=reason,
        )
        lot.ack(parcel)
    log.info(
        "replayed %d of %d parked in %s for %s: %s",
        result.count,
        result.seen,
        queue,
        person,
        reason,
    )
    return result.count


def _chosen(lot: ParkingLot, selection: Selection, result: Plan) -> Iterator[tuple[Parcel, Parked]]:
    """Yield what the selection means, and count it."""
    for parcel in lot.parked():
        result.seen += 1
        parked = examine(parcel)
        if not selection.applies_to(parked):
            continue
        result.count += 1
        result.by_reason[parked.reason] += 1
        yield parcel, parked
        if result.count >= selection.limit:
            return


def examine(parcel: Parcel) -> Parked:
    """Return what a parked message says of itself, however broken it is."""
    body = parcel.document()
    metadata = body.get("metadata")
    revision = metadata.get("revision") if isinstance(metadata, dict) else None
    reason = parcel.headers.get("x-park-reason")
    if reason is None:  # the broker itself moved it: it was delivered too often
        reason = ParkReason.KILLED_THE_WORKER.value
    return Parked(
        message_id=parcel.message_id,
        document_id=_text(body.get("document_id")),
        revision=revision if isinstance(revision, int) else None,
        document_type=_text(body.get("document_type")),
        reason=str(reason),
        detail=str(parcel.headers.get("x-park-detail") or ""),
        parked_at=_parked_at(parcel),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _parked_at(parcel: Parcel) -> datetime | None:
    said = parcel.headers.get("x-parked-at")
    if isinstance(said, str):
        try:
            instant = datetime.fromisoformat(said)
        except ValueError:
            return None
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    deaths = parcel.headers.get("x-death")
    died = deaths[0].get("time") if isinstance(deaths, list) and deaths else said
    if isinstance(died, datetime):
        return died if died.tzinfo else died.replace(tzinfo=UTC)
    return None
