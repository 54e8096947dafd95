"""Draining a queue of documents: download from Odoo, check, store, tell.

A message is acknowledged after the ledger has committed what became of it, so a process killed at
any step leaves the message in the queue, and doing it again is harmless: the ledger knows what is
stored, and the store recognises a file that a killed process had put there.

One thread speaks with broker and ledger, and keeps in one transaction whatever has come by then.
Others download, check and store: they know neither, so that one which hangs can be given up, and
its message comes again later. What is to be told to people is written with what became of its
document, and published after that commit.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from clinic.documents.away import Sides
from clinic.documents.check import check_file
from clinic.documents.fate import Copy, TooCostlyError, again_later, killed_worker, set_aside
from clinic.documents.history import Step, steps_of
from clinic.documents.message import DocumentMessage, parse
from clinic.documents.outbox import Notification, notification_body, notification_copy
from clinic.documents.parcel import Parcel
from clinic.documents.pdf import PdfOpener
from clinic.documents.reasons import ParkReason, WaitReason
from clinic.documents.retry import delay_s
from clinic.documents.store import DocumentStore, Stored, Upload
from clinic.documents.workers import Job, Workers, wait_for_one
from clinic.errors import AwayError, ParkError, PermanentError, RefusedError, TransientError

log = logging.getLogger(__name__)

WORKERS: Final = 4
AHEAD: Final = 3  # messages held for each worker: more would be parked with one that kills it
DOCUMENT_S: Final = 600.0  # the longest that one document may take in all
UNROUTED: Final = "documents.unrouted"
_ODOO: Final = "Odoo"
_HEARTBEAT_S: Final = 1.0
_FAREWELL_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Begun:
    """What an earlier try of a document left: the id reserved for it, and where."""

    reserved_id: str | None
    reserved_in: str | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A document that is stored already."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """An id that a store gave for a document."""

    message: DocumentMessage
    store: str
    place: str
    reserved_id: str | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a document is not stored: it is ``retrying`` or ``parked``."""

    state: str
    occasion: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a document, and what makes its notification once its event has a number."""

    message: DocumentMessage
    result: Stored | Failure
    notification: Callable[[int], Notification]


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

    def begin(
        self, messages: Sequence[DocumentMessage], before: Sequence[Sequence[Step]] = ()
    ) -> list[Begun | Kept]:
        """Note that storing begins, each document once; return with each what was known of it.

        Args:
            messages: The documents.
            before: What happened to each before it came.
        """
        ...

    def kept(self, messages: Sequence[DocumentMessage]) -> list[Kept | None]:
        """Return with each document whether it is stored."""
        ...

    def reserve(self, reservations: Sequence[Reservation]) -> None:
        """Keep the ids that stores gave; on disk on return."""
        ...

    def settle(self, outcomes: Sequence[Outcome]) -> list[Notification]:
        """Keep what became of documents, each once; on disk on return.

        Returns:
            What is to be told of it and was not written down before.
        """
        ...

    def tell_again(self, messages: Sequence[DocumentMessage]) -> None:
        """Let the notifications of stored documents be published once more."""
        ...

    def unsent(self, most: int) -> list[Notification]:
        """Return what this queue's documents have to tell still, at most so many, oldest first."""
        ...

    def mark_sent(self, notification_ids: Sequence[str]) -> None:
        """Note that notifications were published."""
        ...


class Queue(Protocol):
    """A queue: :class:`clinic.clients.broker_queue.BrokerQueue`."""

    def batch(self, limit: int, wait_s: float) -> list[Parcel]:
        """Return what waits, at most ``limit``; nothing when nothing came for ``wait_s``."""
        ...

    def publish_all(self, copies: Sequence[tuple[str, Parcel]]) -> None:
        """Publish to the exchanges named, and return when the broker has all in queues."""
        ...

    def ack(self, parcel: Parcel) -> None:
        """Let the broker forget a message."""
        ...

    def put_back(self, parcel: Parcel) -> None:
        """Return a message to its place: there was no time for it."""
        ...

    def depth(self, name: str | None = None) -> int:
        """Return how many messages wait in the queue, or in another."""
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


@dataclass(slots=True, eq=False)
class _Task:
    """A document on its way, and the messages that say the same of it."""

    parcel: Parcel
    message: DocumentMessage
    spooled: Path
    twins: list[Parcel] = field(default_factory=list)
    took_s: float = 0  # to fetch it
    reserved_id: str | None = None
    reservation: Reservation | None = None
    job: Job[Stored | None] | None = None

    def is_overdue(self, longest_s: float) -> bool:
        """Tell whether it has been worked on for longer; waiting for a worker does not count."""
        return self.job is not None and self.job.is_overdue(longest_s - self.took_s)


@dataclass(slots=True)
class _Done:
    """A message whose fate is known: a copy goes somewhere, or nothing does; then it is done."""

    parcel: Parcel
    what: str  # a field of DrainSummary
    copy: Copy | None = None


class Drain:
    """Stores the documents of one queue.

    Args:
        queue: Where their messages wait.
        killed: Where the broker puts those that were delivered too often.
        ledger: Keeps what became of each.
        source: Where they are downloaded from.
        stores: The store of each document type.
        spool_dir: A folder of this queue's own, for files on their way; emptied at the start.
        workers: How many documents are on their way at once.
        document_s: The longest that one document may take.
    """

    def __init__(
        self,
        queue: Queue,
        killed: Queue,
        ledger: Ledger,
        source: Source,
        stores: Mapping[str, DocumentStore],
        spool_dir: Path,
        *,
        workers: int = WORKERS,
        document_s: float = DOCUMENT_S,
    ) -> None:
        self._queue = queue
        self._killed = killed
        self._ledger = ledger
        self._source = source
        self._stores = stores
        self._spool_dir = spool_dir
        self._count = workers
        self._document_s = document_s
        self._pdfs = PdfOpener()
        self._sides = Sides()
        self._under_way: list[_Task] = []
        self.summary = DrainSummary()

    def run(self, max_s: float, idle_s: float) -> DrainSummary:
        """Work for so many seconds, or until nothing came for ``idle_s``; return what was done.

        A document that was begun within the time may take ``document_s`` beyond it.

        Raises:
            TransientError: Broker or ledger went away. What was not acknowledged comes again.
        """
        self._ledger.open_drain()
        # What a killed drain left; there is no other now.
        for leftover in self._spool_dir.iterdir():
            leftover.unlink()
        self._tell_unsent()
        self._report_killers()
        if count := self._queue.depth(UNROUTED):
            log.error(
                "%d messages lie in %s: no queue was bound where they went. See "
                "docs/runbooks/drain_invoices.md.", count, UNROUTED,
            )  # fmt: skip
        end_at = time.monotonic() + max_s
        workers = Workers(self._count, "document")
        try:
            while (left_s := end_at - time.monotonic()) > 0:
                parcels = self._queue.batch(self._count * AHEAD, min(idle_s, left_s))
                if not parcels:
                    break
                self._handle(workers, parcels, end_at)
        finally:
            workers.close()
            # After an error some may be under way still. Most end at once; none is waited for long.
            jobs = [task.job for task in self._under_way if task.job and not task.job.future.done()]
            ends_at = time.monotonic() + _FAREWELL_S
            for job in jobs:
                wait_for_one([job], max(0.0, ends_at - time.monotonic()))
            self._pdfs.close()
        log.info("drained: %s", self.summary.as_dict())
        return self.summary

    # A batch

    def _handle(self, workers: Workers, parcels: list[Parcel], end_at: float) -> None:
        """Work on a batch; acknowledge each message when it is done, in whatever order."""
        tasks, garbage, later = self._read(parcels)
        self._finish([], garbage)
        waiting = deque(self._begin(tasks))
        active = self._under_way = []
        while waiting or active:
            if time.monotonic() > end_at:  # the next run has time for them
                for task in waiting:
                    for parcel in (task.parcel, *task.twins):
                        self._queue.put_back(parcel)
                waiting.clear()
            # One or two more than workers, so that none waits for us; not all, for disk's sake.
            while waiting and len(active) < self._count + 2:
                task = waiting.popleft()
                task.job = workers.submit(partial(self._fetch, task))
                active.append(task)
            wait_for_one([task.job for task in active if task.job], _HEARTBEAT_S)
            self._queue.keep_alive()
            ended = [task for task in active if task.job and task.job.future.done()]
            hung = [
                task for task in active if task not in ended and task.is_overdue(self._document_s)
            ]
            for _ in hung:
                workers.give_up()
            for task in (*ended, *hung):
                active.remove(task)
            active += self._go_on(workers, ended, hung)
        if later:
            if time.monotonic() > end_at:
                for parcel in later:
                    self._queue.put_back(parcel)
            else:
                self._handle(workers, later, end_at)

    def _read(self, parcels: list[Parcel]) -> tuple[list[_Task], list[_Done], list[Parcel]]:
        """Return documents to store, messages that are none, and those that come later."""
        tasks: dict[tuple[str, int], _Task] = {}
        garbage: list[_Done] = []
        later: list[Parcel] = []
        for parcel in parcels:
            try:
                message = parse(parcel.routing_key, parcel.body)
                if message.document_type not in self._stores:
                    raise ParkError(
                        ParkReason.UNKNOWN_TYPE,
                        f"{message} came into a queue that is for {', '.join(self._stores)}. Look "
                        "at the bindings of documents_exchange.",
                    )
            except ParkError as error:
                garbage.append(self._parked(parcel, error))
                continue
            key = message.document_id, message.revision
            known = tasks.get(key)
            if known is None:
                name = f"{message.document_id}.{message.revision}.{uuid.uuid4().hex}"
                tasks[key] = _Task(parcel, message, self._spool_dir / name)
            elif known.parcel.body == parcel.body:  # a duplicate shares its twin's fate
                known.twins.append(parcel)
            else:  # says something else of the same document: judged by itself, afterwards
                later.append(parcel)
        return list(tasks.values()), garbage, later

    def _begin(self, tasks: list[_Task]) -> list[_Task]:
        """Note in the ledger that these begin, and return those that are not stored yet."""
        if not tasks:
            return []
        try:
            known = self._ledger.begin(
                [task.message for task in tasks],
                [_before(task.parcel) for task in tasks],
            )
        except RefusedError as error:
            if len(tasks) > 1:  # one bad value must not hold up its neighbours
                return [each for task in tasks for each in self._begin([task])]
            why = ParkError(ParkReason.SCHEMA, str(error))
            self._finish([], [self._parked(parcel, why) for parcel in _all(tasks[0])])
            return []
        begun: list[_Task] = []
        again: list[DocumentMessage] = []
        outcomes: list[Outcome] = []
        done: list[_Done] = []
        for task, what in zip(tasks, known, strict=True):
            if isinstance(what, Begun):
                store = self._stores[task.message.document_type]
                task.reserved_id = what.reserved_id if what.reserved_in == store.place else None
                begun.append(task)
            elif what.sha256 == task.message.metadata.sha256:
                log.info("%s is stored already", task.message)
                again.append(task.message)
                done += [_Done(parcel, "duplicates") for parcel in _all(task)]
            else:
                self._fail(task, _other_content(task.message), outcomes, done)
        if again:
            self._ledger.tell_again(again)
        self._finish(outcomes, done)
        if again:
            self._tell_unsent()
        return begun

    def _go_on(self, workers: Workers, ended: list[_Task], hung: list[_Task]) -> list[_Task]:
        """Keep what became of some, all at once, and return those that are under way again."""
        outcomes: list[Outcome] = []
        done: list[_Done] = []
        fetched: list[_Task] = []
        for task in hung:
            error = TooCostlyError(
                f"Storing {task.message} was given up after {self._document_s:.0f} s. Is Odoo or "
                "the store well?"
            )
            self._fail(task, error, outcomes, done)
        for task in ended:
            assert task.job
            try:
                result = task.job.future.result()
            except (TransientError, PermanentError) as error:
                self._fail(task, error, outcomes, done)
                continue
            if isinstance(result, Stored):
                self._succeed(task, result, outcomes, done)
            else:
                fetched.append(task)
        if reservations := [task.reservation for task in fetched if task.reservation]:
            self._ledger.reserve(reservations)
        for task in fetched:
            task.job = workers.submit(partial(self._put, task))
        self._finish(outcomes, done)
        return fetched

    def _finish(
        self, outcomes: list[Outcome], done: list[_Done], from_queue: Queue | None = None
    ) -> None:
        """Keep what became of documents, tell of it, send the copies, and acknowledge."""
        notifications = self._ledger.settle(outcomes) if outcomes else []
        copies = [one.copy for one in done if one.copy] + list(
            map(notification_copy, notifications)
        )
        # First the copies, then the acknowledgements: a kill between leaves two, never none.
        if copies:
            self._queue.publish_all([(copy.exchange, copy.parcel) for copy in copies])
        if notifications:
            self._ledger.mark_sent([one.id for one in notifications])
            self.summary.told += len(notifications)
        for one in done:
            (from_queue or self._queue).ack(one.parcel)
            setattr(self.summary, one.what, getattr(self.summary, one.what) + 1)

    def _tell_unsent(self) -> None:
        """Publish what a drain wrote down and could not publish any more."""
        while notifications := self._ledger.unsent(100):
            copies = map(notification_copy, notifications)
            self._queue.publish_all([(copy.exchange, copy.parcel) for copy in copies])
            self._ledger.mark_sent([one.id for one in notifications])
            self.summary.told += len(notifications)

    def _report_killers(self) -> None:
        """Park what the broker took out of the queue, and tell of it as of anything parked."""
        if not self._killed.depth():
            return
        while parcels := self._killed.batch(50, 0.5):
            while parcels:
                tasks, done, parcels = self._read(parcels)
                outcomes: list[Outcome] = []
                known = self._ledger.kept([task.message for task in tasks])
                for task, kept in zip(tasks, known, strict=True):
                    if kept is not None and kept.sha256 == task.message.metadata.sha256:
                        done += [_Done(parcel, "duplicates") for parcel in _all(task)]
                    else:
                        self._fail(task, killed_worker(task.parcel), outcomes, done)
                self._finish(outcomes, done, self._killed)

    # What became of one

    def _succeed(
        self, task: _Task, stored: Stored, outcomes: list[Outcome], done: list[_Done]
    ) -> None:
        facts = {
            "url": stored.url,
            "store": stored.store,
            "sha256": stored.sha256,
            "size_bytes": stored.size_bytes,
        }
        outcomes.append(Outcome(task.message, stored, _notification(task.message, "stored", facts)))
        log.info(
            "%s: stored in %s, %d bytes in %.2f s: %s", task.message, stored.store,
            stored.size_bytes, task.took_s, stored.url,
        )  # fmt: skip
        done.append(_Done(task.parcel, "stored" if stored.created else "found_in_store"))
        done += [_Done(twin, "duplicates") for twin in task.twins]

    def _fail(
        self,
        task: _Task,
        error: TransientError | PermanentError,
        outcomes: list[Outcome],
        done: list[_Done],
    ) -> None:
        """Let the message come again later, or park it when trying again cannot help."""
        message, parcel = task.message, task.parcel
        one: _Done | None = None
        if isinstance(error, TransientError):
            try:
                one = _Done(parcel, "retried", again_later(parcel, error))
            except ParkError as enough:
                error = enough
        elif not isinstance(error, ParkError):
            error = ParkError(ParkReason.STORE_REFUSED, str(error))
        reason = _reason(error)
        detail = str(error)[:2000].replace("\0", "")
        facts: dict[str, Any] = {"reason": reason, "detail": detail}
        if isinstance(error, ParkError):
            state = "parked"
            one = self._parked(parcel, error)
        else:
            state = "retrying"
            pause = timedelta(seconds=delay_s(parcel.attempt, error.retry_after_s))
            next_at = datetime.now(UTC) + pause
            facts |= {"attempt": parcel.attempt, "next_attempt_at": next_at.isoformat()}
            log.warning("%s, attempt %d, again at %s: %s", message, parcel.attempt, next_at, error)
        assert one
        failure = Failure(state, _occasion(parcel), reason, detail)
        outcomes.append(Outcome(message, failure, _notification(message, state, facts)))
        done.append(one)
        done += [_Done(twin, "duplicates") for twin in task.twins]

    @staticmethod
    def _parked(parcel: Parcel, error: ParkError) -> _Done:
        """Park a message. What is no document has no row in the ledger: its own headers tell."""
        log.warning("parked, %s: %s", error.reason, error)
        return _Done(parcel, "parked", set_aside(parcel, error))

    # In a worker

    def _fetch(self, task: _Task) -> None:
        """Download and check a document, and reserve an id for it.

        Raises:
            TransientError: Trying again later may help.
            PermanentError: It cannot.
        """
        began_at = time.monotonic()
        message = task.message
        store = self._stores[message.document_type]
        try:
            with self._spooling(task):
                size_bytes = message.metadata.size_bytes
                self._sides.expect(store.place)
                with self._sides.asking(_ODOO):
                    self._source.download(message.file_path, task.spooled, size_bytes)
                check_file(task.spooled, message, self._pdfs)
                if task.reserved_id is None:
                    with self._sides.asking(store.place, is_proof=False):
                        task.reserved_id = store.reserve()
                    if task.reserved_id is not None:
                        task.reservation = Reservation(
                            message, store.name, store.place, task.reserved_id
                        )
        except BaseException:
            task.spooled.unlink(missing_ok=True)
            raise
        task.took_s = time.monotonic() - began_at

    def _put(self, task: _Task) -> Stored:
        """Store a document that was fetched."""
        expected = task.message.metadata
        store = self._stores[task.message.document_type]
        began_at = time.monotonic()
        try:
            with self._spooling(task), self._sides.asking(store.place):
                return store.put(
                    Upload(
                        document_id=task.message.document_id,
                        revision=task.message.revision,
                        document_type=task.message.document_type,
                        file_name=expected.file_name,
                        content_type=expected.content_type,
                        path=task.spooled,
                        size_bytes=expected.size_bytes,
                        sha256=expected.sha256,
                        date=expected.date,
                        reserved_id=task.reserved_id,
                    )
                )
        finally:
            task.took_s += time.monotonic() - began_at
            task.spooled.unlink(missing_ok=True)

    @contextmanager
    def _spooling(self, task: _Task) -> Iterator[None]:
        """Say what is wrong with the disk or the memory, which is no document's fault."""
        try:
            yield
        except (OSError, MemoryError) as error:
            said = getattr(error, "strerror", None) or type(error).__name__
            raise AwayError(
                WaitReason.NO_ROOM,
                f"The file of {task.message} on its way through {self._spool_dir}: {said}. Make "
                "room on the machine; trying again may help.",
            ) from error


def _before(parcel: Parcel) -> Sequence[Step]:
    """Return what happened before a message first came; a later attempt brings the same."""
    return steps_of(parcel.headers) if parcel.attempt == 1 else ()


def _all(task: _Task) -> list[Parcel]:
    return [task.parcel, *task.twins]


def _reason(error: TransientError | PermanentError) -> str:
    """Return the code of what happened."""
    if isinstance(error, AwayError | ParkError):
        return str(error.reason)
    return str(WaitReason.TOO_SLOW if isinstance(error, TooCostlyError) else WaitReason.NOT_NOW)


def _other_content(message: DocumentMessage) -> ParkError:
    return ParkError(
        ParkReason.OTHER_CONTENT,
        f"{message} is stored already, with other content than this message announces. Nothing was "
        "overwritten: look at both in Odoo and in the store, and issue a new revision if the new "
        "one is right.",
    )


def _notification(
    message: DocumentMessage, event: str, facts: Mapping[str, Any]
) -> Callable[[int], Notification]:
    """Return what makes the notification, once its event has a number."""
    notification_id = str(uuid.uuid4())

    def make(number: int) -> Notification:
        body = notification_body(message, notification_id, number, event, facts)
        return Notification(notification_id, body)

    return make


def _occasion(parcel: Parcel) -> str:
    """Name this message and attempt, so that a repeat after a kill tells nobody twice."""
    replayed_at = parcel.headers.get("x-replayed-at", "")
    return f"{parcel.timestamp or 0} {replayed_at} {parcel.attempt}"
