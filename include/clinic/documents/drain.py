"""Draining a queue of documents: download from Odoo, check, store, tell.

A message is acknowledged after the ledger has committed what became of it, so a process killed at
any step leaves the message in the queue, and doing it again is harmless: the ledger knows what is
stored, and the store recognises a file that a killed process had put there.

One thread speaks with the broker; a few others download and store. What is to be told to people
lies in the ledger's outbox from the same commit on, and is published from there.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from clinic.documents.check import check_file
from clinic.documents.message import DocumentMessage, parse
from clinic.documents.outbox import Publisher, notification_body, publish_outbox
from clinic.documents.parcel import PARKING_EXCHANGE, Parcel, now_text
from clinic.documents.reasons import ParkReason
from clinic.documents.retry import LAST_ATTEMPT, delay_s, tier
from clinic.documents.store import DocumentStore, Stored, Upload
from clinic.errors import (
    ClinicError,
    ParkError,
    PermanentError,
    RefusedError,
    TransientError,
)

log = logging.getLogger(__name__)

WORKERS: Final = 2
AHEAD: Final = 3  # messages held for each worker: more would be parked with one that kills it
_HEARTBEAT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Begun:
    """What an earlier try of a document left: the store it chose, the id reserved there."""

    store: str | None
    reserved_id: str | None


class Source(Protocol):
    """Where documents are downloaded from: :class:`clinic.clients.odoo.OdooClient`."""

    def download(self, path: str, sink: Path, max_bytes: int) -> None:
        """Write a document into a file."""
        ...


class Ledger(Protocol):
    """What is known of documents: :class:`clinic.clients.documents_db.DocumentsDb`."""

    def open_drain(self) -> None:
        """Become the only drain of the queue."""
        ...

    def begin(self, message: DocumentMessage) -> Begun | None:
        """Note that storing begins; None when it is stored already."""
        ...

    def reserve(self, message: DocumentMessage, store: str, reserved_id: str | None) -> None:
        """Keep the id that the store gave."""
        ...

    def stored(
        self,
        message: DocumentMessage,
        stored: Stored,
        notification: Callable[[int], tuple[str, Mapping[str, Any]]],
    ) -> None:
        """Keep where a document lies, and what is to be told of it."""
        ...

    def failed(
        self,
        message: DocumentMessage,
        state: str,
        occasion: str,
        reason: str,
        detail: str,
        notification: Callable[[int], tuple[str, Mapping[str, Any]]],
    ) -> None:
        """Keep that a document is retrying or parked, and what is to be told of it."""
        ...

    def tell_again(self, message: DocumentMessage) -> None:
        """Let the notification of a stored document be published once more."""
        ...

    def publish_unsent(self, most: int, publish: Callable[[str, Mapping[str, Any]], None]) -> int:
        """Publish what is to be told, and note that it was; return how many."""
        ...


class Queue(Publisher, Protocol):
    """The queue: :class:`clinic.clients.broker_queue.BrokerQueue`."""

    def batch(self, limit: int, wait_s: float) -> list[Parcel]:
        """Return what waits, at most ``limit``; nothing when nothing came for ``wait_s``."""
        ...

    def ack(self, parcel: Parcel) -> None:
        """Let the broker forget a message."""
        ...

    def keep_alive(self) -> None:
        """Answer the broker's heartbeat."""
        ...


@dataclass(slots=True)
class DrainSummary:
    """What was done, by numbers of messages."""

    stored: int = 0
    found_in_store: int = 0
    duplicates: int = 0
    retried: int = 0
    parked: int = 0
    told: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return it for a log line or a task's result."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What becomes of a message: a copy goes to an exchange, or nothing does; then it is done."""

    what: str  # a field of DrainSummary
    exchange: str | None = None
    copy: Parcel | None = None


class _LedgerError(Exception):
    """The ledger failed, so nothing may be acknowledged."""

    def __init__(self, why: ClinicError) -> None:
        super().__init__(str(why))
        self.why = why


class Drain:
    """Stores the documents of one queue.

    Args:
        queue: Where their messages wait.
        ledger: Keeps what became of each.
        source: Where they are downloaded from.
        stores: The store of each document type.
        spool_dir: A folder of this queue's own, for files on their way; emptied at the start.
        workers: How many documents are on their way at once.
    """

    def __init__(
        self,
        queue: Queue,
        ledger: Ledger,
        source: Source,
        stores: Mapping[str, DocumentStore],
        spool_dir: Path,
        *,
        workers: int = WORKERS,
    ) -> None:
        self._queue = queue
        self._ledger = ledger
        self._source = source
        self._stores = stores
        self._spool_dir = spool_dir
        self._workers = workers
        self.summary = DrainSummary()

    def run(self, max_s: float, idle_s: float) -> DrainSummary:
        """Work for so many seconds, or until nothing came for ``idle_s``; return what was done.

        Raises:
            TransientError: Broker or ledger went away. What was not acknowledged comes again.
        """
        self._ledger.open_drain()
        # What a killed drain left; there is no other now.
        for leftover in self._spool_dir.iterdir():
            leftover.unlink()
        self._tell()
        end_at = time.monotonic() + max_s
        with ThreadPoolExecutor(self._workers, thread_name_prefix="document") as pool:
            while (left_s := end_at - time.monotonic()) > 0:
                parcels = self._queue.batch(self._workers * AHEAD, min(idle_s, left_s))
                if not parcels:
                    break
                self._handle(pool, parcels)
        log.info("drained: %s", self.summary.as_dict())
        return self.summary

    def _handle(self, pool: ThreadPoolExecutor, parcels: list[Parcel]) -> None:
        """Work on a batch; acknowledge each message when it is done, in whatever order."""
        waiting: dict[Future[_Outcome], list[Parcel]] = {}
        under_way: dict[tuple[str, int], tuple[bytes, Future[_Outcome]]] = {}
        later: list[Parcel] = []
        try:
            for parcel in parcels:
                try:
                    message = parse(parcel.routing_key, parcel.body)
                except ParkError as error:
                    self._finish(parcel, self._set_aside(parcel, error))
                    continue
                key = (message.document_id, message.revision)
                if key not in under_way:
                    future = pool.submit(self._work, parcel, message)
                    under_way[key] = parcel.body, future
                    waiting[future] = [parcel]
                elif under_way[key][0] == parcel.body:  # a duplicate shares its twin's fate
                    waiting[under_way[key][1]].append(parcel)
                else:  # says something else of the same document: judged by itself, afterwards
                    later.append(parcel)
            while waiting:
                done, _ = wait(waiting, timeout=_HEARTBEAT_S, return_when=FIRST_COMPLETED)
                self._queue.keep_alive()
                for future in done:
                    outcome = future.result()
                    first, *twins = waiting.pop(future)
                    self._finish(first, outcome)
                    for twin in twins:
                        self._finish(twin, _Outcome("duplicates"))
                if done:
                    self._tell()
        except _LedgerError as error:
            raise error.why from None
        finally:
            for future in waiting:
                future.cancel()
        if later:
            self._handle(pool, later)

    def _finish(self, parcel: Parcel, outcome: _Outcome) -> None:
        # First the copy, then the acknowledgement: a kill between leaves two, never none.
        if outcome.exchange and outcome.copy:
            self._queue.publish(outcome.exchange, outcome.copy)
        self._queue.ack(parcel)
        setattr(self.summary, outcome.what, getattr(self.summary, outcome.what) + 1)

    def _tell(self) -> None:
        self.summary.told += publish_outbox(self._ledger, self._queue)

    # In a worker

    def _work(self, parcel: Parcel, message: DocumentMessage) -> _Outcome:
        """Store one document and return what becomes of its message."""
        began = time.monotonic()
        try:
            begun = self._keep(self._ledger.begin, message)
        except RefusedError as error:  # one bad value must not hold up its neighbours
            return self._set_aside(parcel, ParkError(ParkReason.SCHEMA, str(error)))
        if begun is None:
            self._keep(self._ledger.tell_again, message)
            log.info("%s is stored already", message)
            return _Outcome("duplicates")
        try:
            stored = self._store(message, begun)
        except TransientError as error:
            return self._put_off(parcel, message, error)
        except ParkError as error:
            return self._set_aside(parcel, error, message)
        except PermanentError as error:
            return self._set_aside(parcel, ParkError(ParkReason.STORE_REFUSED, str(error)), message)
        facts = {
            "url": stored.url,
            "store": stored.store,
            "sha256": stored.sha256,
            "size_bytes": stored.size_bytes,
        }
        self._keep(self._ledger.stored, message, stored, _notification(message, "stored", facts))
        log.info(
            "%s: stored in %s, %d bytes in %.2f s: %s",
            message, stored.store, stored.size_bytes, time.monotonic() - began, stored.url,
        )  # fmt: skip
        return _Outcome("stored" if stored.created else "found_in_store")

    def _store(self, message: DocumentMessage, begun: Begun) -> Stored:
        """Download, check and store.

        Raises:
            TransientError: Trying again later may help.
            PermanentError: It cannot.
        """
        store = self._stores[message.document_type]
        expected = message.metadata
        spooled = self._spool_dir / f"{message.document_id}.{message.revision}.{uuid.uuid4().hex}"
        try:
            self._source.download(message.file_path, spooled, expected.size_bytes)
            check_file(spooled, message)
            reserved_id = begun.reserved_id if begun.store == store.name else None
            if reserved_id is None:
                reserved_id = store.reserve()
                self._keep(self._ledger.reserve, message, store.name, reserved_id)
            return store.put(
                Upload(
                    document_id=message.document_id,
                    revision=message.revision,
                    document_type=message.document_type,
                    file_name=expected.file_name,
                    content_type=expected.content_type,
                    path=spooled,
                    size_bytes=expected.size_bytes,
                    sha256=expected.sha256,
                    date=expected.date,
                    reserved_id=reserved_id,
                )
            )
        except (OSError, MemoryError) as error:
            said = getattr(error, "strerror", None) or type(error).__name__
            raise TransientError(
                f"The file of {message} on its way through {self._spool_dir}: {said}. Make room "
                "on the machine; trying again may help."
            ) from error
        finally:
            spooled.unlink(missing_ok=True)

    def _put_off(self, parcel: Parcel, message: DocumentMessage, error: TransientError) -> _Outcome:
        """Let the message come again later, or park it when a day of that was enough."""
        attempt = parcel.attempt
        if attempt >= LAST_ATTEMPT:
            tired = ParkError(ParkReason.GAVE_UP, f"After {attempt} attempts: {error}")
            return self._set_aside(parcel, tired, message)
        next_at = datetime.now(UTC) + timedelta(seconds=delay_s(attempt, error.retry_after_s))
        detail = str(error)[:2000]
        facts = {
            "reason": "not_now",
            "detail": detail,
            "attempt": attempt,
            "next_attempt_at": next_at.isoformat(),
        }
        self._keep(
            self._ledger.failed, message, "retrying", _occasion(parcel), "not_now",
            detail, _notification(message, "retrying", facts),
        )  # fmt: skip
        log.warning("%s, attempt %d, again at %s: %s", message, attempt, next_at, error)
        copy = replace(parcel, headers=parcel.copy_headers(attempt=attempt + 1))
        return _Outcome("retried", f"documents.retry.{tier(attempt, error.retry_after_s)}", copy)

    def _set_aside(
        self, parcel: Parcel, error: ParkError, message: DocumentMessage | None = None
    ) -> _Outcome:
        """Park a message. What is no document has no row in the ledger: its own headers tell."""
        reason, detail = str(error.reason), str(error)[:1000]
        if message is not None:
            facts = {"reason": reason, "detail": detail}
            self._keep(
                self._ledger.failed, message, "parked", _occasion(parcel), reason, detail,
                _notification(message, "parked", facts),
            )  # fmt: skip
        log.warning("parked, %s: %s", reason, detail)
        headers = parcel.copy_headers(
            attempt=parcel.attempt,
            x_park_reason=reason,
            x_park_detail=detail,
            x_parked_at=now_text(),
        )
        return _Outcome("parked", PARKING_EXCHANGE, replace(parcel, headers=headers))

    @staticmethod
    def _keep[**Arguments, Result](
        call: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Call the ledger. Its failure is no document's: the run ends, nothing is acknowledged.

        Raises:
            RefusedError: One value was refused, and that is the document's.
        """
        try:
            return call(*args, **kwargs)
        except RefusedError:
            raise
        except ClinicError as error:
            raise _LedgerError(error) from error


def _notification(
    message: DocumentMessage, event: str, facts: Mapping[str, Any]
) -> Callable[[int], tuple[str, Mapping[str, Any]]]:
    """Return what makes the notification, once its event has a number."""
    notification_id = str(uuid.uuid4())

    def make(number: int) -> tuple[str, Mapping[str, Any]]:
        return notification_id, notification_body(message, notification_id, number, event, facts)

    return make


def _occasion(parcel: Parcel) -> str:
    """Name this message and attempt, so that a repeat after a kill tells nobody twice."""
    replayed_at = parcel.headers.get("x-replayed-at", "")
    return f"{parcel.timestamp or 0} {replayed_at} {parcel.attempt}"
