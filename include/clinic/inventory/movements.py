"""Book in Odoo the movements that other systems ask for, each exactly once.

A request is claimed (with a lease, so that a killed process's claims come free), booked by one call
of Odoo that knows the request's id, and noted. Whatever is killed in between, the next attempt asks
Odoo with the same id and is told what became of it. What does not fit Odoo's stock ends as a
conflict that a person resolves. See docs/adr/0015-book-movements-by-their-request-id.md.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol
from uuid import UUID

from clinic.errors import ClinicError, PermanentError, TransientError

log = logging.getLogger(__name__)

CODES: Final = frozenset(
    {
        "not_enough_stock",
        "lot_expired",
        "lot_unknown",
        "product_unknown",
        "product_archived",
        "location_unknown",
        "count_differs",
        "refused",
    }
)
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """A claimed row of ``movement_requests``."""

    id: UUID
    client: str
    person: str
    kind: str
    medication_id: int
    location_id: int
    lot_id: int | None
    lot_name: str | None
    quantity: Decimal
    expected_quantity: Decimal | None
    reason: str | None
    reference: str | None
    source: str
    occurred_at: datetime
    apply_anyway: bool
    attempts: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What Odoo made of a request; ``code`` is None when it was booked."""

    code: str | None
    ours: Mapping[str, Any]
    theirs: Mapping[str, Any]
    picking: str | None
    moves: tuple[int, ...]


class Ledger(Protocol):
    """The part of :class:`clinic.clients.movements_db.MovementsDb` used here."""

    def claim(self, *, lease_s: float, count: int) -> Sequence[Request]: ...  # noqa: D102
    def applied(self, request: Request, answer: Answer) -> bool: ...  # noqa: D102
    def refused(self, request: Request, answer: Answer) -> bool: ...  # noqa: D102
    def put_off(  # noqa: D102
        self, request: Request, detail: str, pause_s: float
    ) -> bool: ...
    def wait(self, seconds: float) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Booking(Protocol):
    """The part of :class:`clinic.clients.odoo_movements.OdooMovements` used here."""

    def apply(self, request: Mapping[str, Any]) -> Any: ...  # noqa: D102


def asked_of_odoo(request: Request) -> dict[str, Any]:
    """Return a request as Odoo's ``clinic.movement.request.apply`` takes it."""
    return {
        "request_id": str(request.id),
        "kind": request.kind,
        "medication_id": request.medication_id,
        "location_id": request.location_id,
        "lot_id": request.lot_id,
        "lot_name": None if request.lot_id is not None else request.lot_name,
        "quantity": plain(request.quantity),
        "expected_quantity": None
        if request.expected_quantity is None
        else plain(request.expected_quantity),
        "reason": request.reason,
        "reference": request.reference,
        "person": request.person,
        "client": request.client,
        "occurred_at": request.occurred_at.isoformat(),
        "apply_anyway": request.apply_anyway,
    }


def plain(quantity: Decimal) -> str:
    """Return a quantity as text with all its digits and no exponent.

    >>> plain(Decimal("1E+3")), plain(Decimal("2.500"))
    ('1000', '2.500')
    """
    return format(quantity, "f")


def read_answer(answer: Any) -> Answer:
    """Return what Odoo answered.

    Raises:
        TransientError: It is not an answer of the addon's: another version of it answers, which an
            update puts right. The movement may be booked; asking again tells.
    """
    try:
        state, code = answer["state"], answer["code"]
        moves = tuple(int(move) for move in answer["moves"])
        ours, theirs = dict(answer["ours"]), dict(answer["theirs"])
        picking = answer["picking"]
    except (KeyError, TypeError, ValueError) as error:
        raise _no_answer() from error
    if not (picking is None or isinstance(picking, str)) or not (
        (state == "applied" and code is None) or (state == "conflict" and code in CODES)
    ):
        raise _no_answer()
    return Answer(code, ours, theirs, picking, moves)


def _no_answer() -> TransientError:
    return TransientError(
        "Booking a movement in Odoo: the answer cannot be understood. It is asked again; update "
        "the addon clinic_movements to this version if it goes on."
    )


def refusal(request: Request, error: PermanentError) -> Answer:
    """Return the conflict that a request ends in which Odoo refuses as such."""
    theirs = {"kind": request.kind, "quantity": plain(request.quantity)}
    return Answer("refused", {"detail": str(error)}, theirs, None, ())


def pause_s(attempts: int) -> float:
    """Return how long to wait after so many failed attempts: longer each time, up to a minute.

    >>> [pause_s(attempts) for attempts in (1, 2, 3, 7, 1000)]
    [1.0, 2.0, 4.0, 60.0, 60.0]
    """
    return min(FIRST_PAUSE_S * 2.0 ** min(max(attempts - 1, 0), 30), LONGEST_PAUSE_S)


@dataclass(frozen=True, slots=True)
class Settings:
    """How movements are booked.

    Attributes:
        lease_s: How long a claim holds: longer than Odoo may take to answer.
        poll_s: How often to look for what is due; news come sooner by NOTIFY.
    """

    lease_s: float = 60
    poll_s: float = 0.25


class MovementWriter:
    """Books what is asked for in a thread of its own, so that the mirror never waits for it.

    Args:
        ledger: The shared database, on a connection of its own.
        booking: Odoo, as the account that books.
        settings: How it behaves.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        ledger: Ledger,
        booking: Booking,
        settings: Settings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._booking = booking
        self._settings = settings or Settings()
        self._clock = clock
        self._stopping = threading.Event()
        self.applied = 0
        self.conflicts = 0
        self.put_off = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Book while the block runs; what is in hand at its end is finished."""
        self._stopping.clear()
        thread = threading.Thread(target=self._run, name="movements", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join(timeout=self._settings.lease_s)
            if self.applied or self.conflicts or self.put_off:
                log.info(
                    "movements: applied=%d conflicts=%d put_off=%d",
                    self.applied,
                    self.conflicts,
                    self.put_off,
                )

    def _run(self) -> None:
        failures = 0
        try:
            while not self._stopping.is_set():
                try:
                    if not self.step():
                        self._ledger.wait(self._settings.poll_s)
                    failures = 0
                except ClinicError as error:
                    # The mirror lives on the same database and says so too; it is waited for here.
                    failures += 1
                    log.warning("movements wait, trying again: %s", error)
                    self._stopping.wait(pause_s(failures))
                except Exception:
                    # Nobody would see a thread that ended: the mirror beside it goes on.
                    failures += 1
                    log.exception("movements: something unforeseen, trying again")
                    self._stopping.wait(pause_s(failures))
        finally:
            self._ledger.close()

    def step(self) -> int:
        """Book one request that is due, and return how many there were: none or one.

        Raises:
            ClinicError: The shared database is out of reach or refuses.
        """
        # One at a time: the lease of a second would run while the first is booked.
        claimed = self._ledger.claim(lease_s=self._settings.lease_s, count=1)
        for request in claimed:
            self._book(request)
        return len(claimed)

    def _book(self, request: Request) -> None:
        began = self._clock()
        try:
            answer = read_answer(self._booking.apply(asked_of_odoo(request)))
        except TransientError as error:
            pause = pause_s(request.attempts)
            log.warning(
                "movement %s not booked, again in %.0f s (attempt %d): %s",
                request.id,
                pause,
                request.attempts,
                error,
            )
            self._ledger.put_off(request, str(error), pause)
            self.put_off += 1
            return
        except PermanentError as error:
            answer = refusal(request, error)
        if answer.code is None:
            self._ledger.applied(request, answer)
            self.applied += 1
        else:
            self._ledger.refused(request, answer)
            self.conflicts += 1
        log.info(
            "movement %s: %s took_ms=%.0f",
            request.id,
            answer.code or "applied",
            (self._clock() - began) * 1000,
        )
