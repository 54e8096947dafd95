"""Telling Odoo, and people by e-mail, what became of their documents.

A notification is done when Odoo has it and each of its mails has an outcome; only then is its
message acknowledged. Whatever is killed in between is done again: Odoo knows a notification by its
id, and the ledger knows each mail, because a mail is claimed there before the mail server hears of
it. A claim without an outcome is what a kill leaves behind. Nobody knows whether that mail went
out, so it is not sent again, and the document's timeline says so.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from clinic.documents.fate import Copy, again_later, killed_worker, set_aside
from clinic.documents.mail import Mail, Mailer, UncertainError, masked
from clinic.documents.parcel import Parcel
from clinic.documents.reasons import ParkReason
from clinic.documents.workers import Workers, wait_for_one
from clinic.errors import ClinicError, ParkError, PermanentError, TransientError

log = logging.getLogger(__name__)

BATCH: Final = 50
MAX_BODY_BYTES: Final = 1_000_000
ONE_CALL_S: Final = 120.0  # the longest that Odoo, or the mail server, may take for one thing
_HEARTBEAT_S: Final = 1.0

ADDON_ADVICE: Final = (
    "Odoo is up and does not take what it is told of documents. Most likely its addon "
    "medical_documents_integration is of another version than this: `make up` updates Odoo's "
    "addons. See docs/runbooks/drain_notifications.md."
)

# What Odoo is told of a notification, beside the ids; what a message lacks stays out.
TOLD: Final = (
    "notification_id",
    "revision",
    "number",
    "event",
    "at",
    "url",
    "store",
    "sha256",
    "size_bytes",
    "reason",
    "detail",
    "attempt",
    "next_attempt_at",
)


class MailState(StrEnum):
    """How far a mail is, as the ledger keeps it. NEW: this process has just claimed it."""

    NEW = "new"
    CLAIMED = "claimed"
    SENT = "sent"
    UNCERTAIN = "uncertain"
    FAILED = "failed"


class Odoo(Protocol):
    """What is asked of Odoo."""

    def call(self, model: str, method: str, /, **arguments: Any) -> Any:
        """Call a method of a model."""
        ...


class MailLedger(Protocol):
    """Who was sent what. Only one process at a time may work with it."""

    def claim(
        self, notification_id: str, recipient: str, attempt: int, *, is_carried: bool
    ) -> MailState:
        """Claim a mail and return NEW, or return how far it was already; durable on return.

        Args:
            notification_id: What the mail is about.
            recipient: Whom it is for.
            attempt: The number of this attempt.
            is_carried: The message itself says that the mail is still to send. Then the claim of an
                earlier attempt is over: a copy carries only what was surely not sent.
        """
        ...

    def release(self, notification_id: str, recipient: str) -> None:
        """Give a claim back: the mail was surely not sent."""
        ...

    def settle(
        self,
        notification_id: str,
        recipient: str,
        state: MailState,
        *,
        document_id: str,
        revision: int,
        detail: str = "",
    ) -> None:
        """Keep a mail's outcome, and say it in the document's timeline."""
        ...


class Queue(Protocol):
    """The queue of notifications."""

    def batch(self, limit: int, wait_s: float) -> list[Parcel]:
        """Return what waits, at most ``limit``; nothing when nothing came for ``wait_s``."""
        ...

    def publish(self, exchange: str, parcel: Parcel) -> None:
        """Publish a copy and return when the broker has it in a queue."""
        ...

    def ack(self, parcel: Parcel) -> None:
        """Let the broker forget a message."""
        ...

    def put_back(self, parcel: Parcel) -> None:
        """Return a message to its place: there was no time for it."""
        ...

    def depth(self) -> int:
        """Return how many messages wait."""
        ...

    def keep_alive(self) -> None:
        """Answer the broker's heartbeat."""
        ...


class _RunOverError(Exception):
    """The ledger failed, or the mail server hangs: no one mail is at fault, and the run ends."""

    def __init__(self, why: ClinicError) -> None:
        super().__init__(str(why))
        self.why = why


@dataclass(slots=True)
class Summary:
    """What was done, by numbers of notifications and of mails."""

    applied: int = 0
    duplicates: int = 0
    retried: int = 0
    parked: int = 0
    mails_sent: int = 0
    mails_failed: int = 0
    mails_uncertain: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return it for a log line or a task's result."""
        return asdict(self)


@dataclass(slots=True)
class _Notification:
    """A message that is a notification, and the mails that belong to it."""

    parcel: Parcel
    body: dict[str, Any]
    left: list[Mail] = field(default_factory=list)  # mails that were surely not sent

    @property
    def id(self) -> str:
        return str(self.body["metadata"]["notification_id"])

    @property
    def document_id(self) -> str:
        return str(self.body["document_id"])

    @property
    def revision(self) -> int:
        return int(self.body["metadata"]["revision"])

    @property
    def carried(self) -> list[Any]:
        """The mails that an earlier attempt left, as the message has them."""
        mails = self.body["metadata"].get("mails")
        return mails if isinstance(mails, list) else []

    def told(self) -> dict[str, Any]:
        """Return what Odoo is told."""
        metadata = self.body["metadata"]
        return {"document_id": self.document_id} | {
            name: metadata[name] for name in TOLD if name in metadata
        }


class Notifier:
    """Takes notifications from the queue in batches, one call to Odoo for each.

    One thread speaks with the broker and the ledger. Odoo and the mail server are spoken with in
    another, so that the broker's heartbeat is answered meanwhile, and one who never answers is
    given up.

    Args:
        odoo: Odoo, as the user of the documents' service.
        mailer: Sends the mails.
        ledger: Keeps who was sent what.
        queue: Where notifications wait.
        killed: Where the broker puts those that were delivered too often.
        problems_of: Returns what is wrong with a decoded body by its JSON Schema; empty when
            nothing is.
        one_call_s: The longest that Odoo, or the mail server, may take for one thing.
    """

    def __init__(
        self,
        odoo: Odoo,
        mailer: Mailer,
        ledger: MailLedger,
        queue: Queue,
        killed: Queue,
        problems_of: Callable[[Any], str],
        *,
        one_call_s: float = ONE_CALL_S,
    ) -> None:
        self._odoo = odoo
        self._mailer = mailer
        self._ledger = ledger
        self._queue = queue
        self._killed = killed
        self._problems_of = problems_of
        self._one_call_s = one_call_s
        self._outside = Workers(1, "notifier")
        self.summary = Summary()

    def run(self, max_s: float, idle_s: float) -> Summary:
        """Work until so many seconds are over, or none came for ``idle_s``; return what was done.

        Raises:
            TransientError: Broker, ledger or mail server went away. What was not acknowledged
                comes again.
            PermanentError: Odoo is there and takes nothing of what it is told.
        """
        end_at = time.monotonic() + max_s
        try:
            self._park_killers()
            while (left_s := end_at - time.monotonic()) > 0:
                parcels = self._queue.batch(BATCH, min(idle_s, left_s))
                if not parcels:
                    break
                self._handle(parcels, end_at)
        except _RunOverError as error:
            raise error.why from None
        finally:
            self._outside.close()
        log.info("notifications: %s", self.summary.as_dict())
        return self.summary

    def _park_killers(self) -> None:
        """Park what the broker took out of the queue. Of a notification nobody else is told."""
        if not self._killed.depth():
            return
        while parcels := self._killed.batch(BATCH, 0.5):
            for parcel in parcels:
                error = killed_worker(parcel)
                copy = set_aside(parcel, error)
                self._queue.publish(copy.exchange, copy.parcel)
                self._killed.ack(parcel)
                self.summary.parked += 1
                log.error("notification parked, %s: %s", error.reason, error)

    def _handle(self, parcels: Sequence[Parcel], end_at: float) -> None:
        """Do what a batch of messages asks for, and acknowledge each."""
        notifications = []
        for parcel in parcels:
            try:
                notifications.append(self._read(parcel))
            except ParkError as error:
                self._park(parcel, error)
        results, refused = self._tell(notifications)
        for notification, result in results:
            if isinstance(result, TransientError):
                self._retry(notification, result)
            elif isinstance(result, ParkError):
                self._park(notification.parcel, result)
            elif time.monotonic() > end_at:  # its mails, which Odoo gives again, are the next run's
                self._queue.put_back(notification.parcel)
            else:
                self._finish(notification, result)
        if refused is not None:
            raise PermanentError(f"{refused} {ADDON_ADVICE}") from refused

    def _read(self, parcel: Parcel) -> _Notification:
        if len(parcel.body) > MAX_BODY_BYTES:
            raise ParkError(
                ParkReason.TOO_LARGE, f"A notification of {len(parcel.body)} bytes was not read."
            )
        try:
            body = json.loads(parcel.body)
        except (ValueError, RecursionError) as error:
            raise ParkError(ParkReason.NOT_JSON, f"The message is not JSON: {error}") from error
        if problems := self._problems_of(body):
            raise ParkError(ParkReason.SCHEMA, f"The message is no notification: {problems}")
        return _Notification(parcel, body)

    def _attended[Result](self, call: Callable[[], Result]) -> Result:
        """Return what a call to the outside returns, answering the broker meanwhile.

        Raises:
            TimeoutError: It takes longer than anything does; nobody waits for it any more.
        """
        job = self._outside.submit(call)
        while not job.future.done():
            wait_for_one([job], _HEARTBEAT_S)
            try:
                self._queue.keep_alive()
            except TransientError as error:
                # What is under way outside has an outcome all the same; the next word to the
                # broker ends the run.
                log.warning("while waiting: %s", error)
            if job.is_overdue(self._one_call_s):
                self._outside.give_up()
                raise TimeoutError
        return job.future.result()

    # Odoo

    def _tell(
        self, notifications: Sequence[_Notification]
    ) -> tuple[list[tuple[_Notification, _Answer]], ClinicError | None]:
        """Tell Odoo of all.

        Returns:
            With each what Odoo answered or why it did not; and, where Odoo is up and takes none
            of them, what it says. A revoked key or an old addon must not park what a person's
            repair lets through, nor go on quietly for a day.
        """
        if not notifications:
            return [], None
        try:
            answers = self._call(notifications)
        except ClinicError as error:
            return self._find_fault(notifications, error)
        return [(each, answers.get(each.id) or _no_answer(each)) for each in notifications], None

    def _find_fault(
        self, notifications: Sequence[_Notification], error: ClinicError
    ) -> tuple[list[tuple[_Notification, _Answer]], ClinicError | None]:
        """Find out whether Odoo is away, takes nothing, or is upset by one notification."""
        later: list[tuple[_Notification, _Answer]] = [
            (each, TransientError(str(error), retry_after_s=getattr(error, "retry_after_s", None)))
            for each in notifications
        ]
        try:
            self._call([])  # asks for nothing: only key, address and addon have to be right
        except TransientError:
            log.warning("Odoo is away; notifications are told later: %s", error)
            return later, None
        except PermanentError as refused:
            return later, refused
        results: list[tuple[_Notification, _Answer]] = []
        for each in notifications:
            try:
                answer = self._call([each]).get(each.id) or _no_answer(each)
                results.append((each, answer))
            except TransientError as why:
                results.append((each, why))
            except PermanentError as why:
                results.append((each, ParkError(ParkReason.GAVE_UP, str(why))))
        if any(isinstance(result, dict) for _, result in results):
            return results, None
        return later, error

    def _call(self, notifications: Sequence[_Notification]) -> dict[str, dict[str, Any]]:
        told = [each.told() for each in notifications]
        try:
            answers = self._attended(
                lambda: self._odoo.call("clinic.document", "notify", notifications=told)
            )
        except TimeoutError as error:
            raise TransientError(
                f"Odoo clinic.document.notify: no whole answer within {self._one_call_s:.0f} s. "
                "Trying again may help; is Odoo overloaded?"
            ) from error
        return {answer["notification_id"]: answer for answer in answers}

    # Mails

    def _finish(self, notification: _Notification, answer: Mapping[str, Any]) -> None:
        """Send the mails of a notification that Odoo has, and acknowledge it."""
        if answer["status"] == "unknown_document":
            gone = ParkError(
                ParkReason.GONE_IN_ODOO, f"Odoo has no document {notification.document_id}."
            )
            self._park(notification.parcel, gone)
            return
        if answer["status"] == "applied":
            self.summary.applied += 1
        else:
            self.summary.duplicates += 1
        failure: TransientError | None = None
        broken: _RunOverError | None = None
        for mail in _mails(notification, answer):
            try:
                self._send(notification, mail)
            except TransientError as error:
                failure = error
                notification.left.append(mail)
                try:
                    self._keep(self._ledger.release, notification.id, mail.to)
                except _RunOverError as why:
                    broken = why  # no harm: the copy says that the mail is still to send
                    break
        if broken is not None:
            # Those that were not begun are Odoo's to give again, in answer to the copy.
            self._retry(notification, failure or TransientError(str(broken)))
            raise broken
        if failure is None:
            self._queue.ack(notification.parcel)
        else:
            self._retry(notification, failure)

    def _send(self, notification: _Notification, mail: Mail) -> None:
        """Send one mail, unless it was sent before or may have been.

        Raises:
            TransientError: It was surely not sent.
        """
        is_carried = any(_is_for(mail, one) for one in notification.carried)
        state = self._keep(
            self._ledger.claim, notification.id, mail.to, notification.parcel.attempt,
            is_carried=is_carried,
        )  # fmt: skip
        if state is MailState.CLAIMED:
            self._settle(
                notification,
                mail,
                MailState.UNCERTAIN,
                "The sender was ended while it sent this mail. It may have arrived, so that it is "
                "not sent again.",
            )
            return
        if state is not MailState.NEW:
            return
        try:
            self._attended(lambda: self._mailer.send(mail))
        except TimeoutError as error:
            detail = (
                f"E-mail to {masked(mail.to)}: the mail server did not end within "
                f"{self._one_call_s:.0f} s. It may have arrived, so that it is not sent again."
            )
            self._settle(notification, mail, MailState.UNCERTAIN, detail)
            # Its connection is taken for as long as it likes: the next run opens another.
            raise _RunOverError(TransientError(f"{detail} Is the mail server well?")) from error
        except UncertainError as error:
            self._settle(notification, mail, MailState.UNCERTAIN, str(error))
        except PermanentError as error:
            self._settle(notification, mail, MailState.FAILED, str(error))
        else:
            self._settle(notification, mail, MailState.SENT, "")

    def _settle(
        self, notification: _Notification, mail: Mail, state: MailState, detail: str
    ) -> None:
        self._keep(
            self._ledger.settle,
            notification.id,
            mail.to,
            state,
            document_id=notification.document_id,
            revision=notification.revision,
            detail=detail,
        )
        match state:
            case MailState.SENT:
                self.summary.mails_sent += 1
            case MailState.FAILED:
                self.summary.mails_failed += 1
                log.warning("%s", detail)
            case _:
                self.summary.mails_uncertain += 1
                log.warning("%s", detail)

    @staticmethod
    def _keep[**Arguments, Result](
        call: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Call the ledger. Its failure is no mail's: the run ends."""
        try:
            return call(*args, **kwargs)
        except ClinicError as error:
            raise _RunOverError(error) from error

    # What did not succeed

    def _retry(self, notification: _Notification, error: TransientError) -> None:
        """Put a copy into the retry tier of its attempt, with the mails that are still to send."""
        parcel = notification.parcel
        body = parcel.body
        if notification.left:  # Odoo need not say them again
            content = notification.body | {
                "metadata": notification.body["metadata"]
                | {"mails": [asdict(mail) for mail in notification.left]}
            }
            body = json.dumps(content, ensure_ascii=False).encode()
        try:
            copy = again_later(parcel, error, body)
        except ParkError as enough:
            self._park(parcel, enough)
            return
        self._move(parcel, copy)
        self.summary.retried += 1
        log.warning("notification %s, attempt %d: %s", notification.id, parcel.attempt, error)

    def _park(self, parcel: Parcel, error: ParkError) -> None:
        self._move(parcel, set_aside(parcel, error))
        self.summary.parked += 1
        log.warning("notification parked, %s: %s", error.reason, error)

    def _move(self, parcel: Parcel, copy: Copy) -> None:
        self._queue.publish(copy.exchange, copy.parcel)
        self._queue.ack(parcel)


type _Answer = dict[str, Any] | TransientError | ParkError


def _no_answer(notification: _Notification) -> TransientError:
    return TransientError(
        f"Odoo clinic.document.notify: no answer about notification {notification.id}. Trying "
        "again may help; is the addon of this version?"
    )


def _is_for(mail: Mail, carried: Any) -> bool:
    return isinstance(carried, dict) and str(carried.get("to") or "").lower() == mail.to.lower()


def _mails(notification: _Notification, answer: Mapping[str, Any]) -> list[Mail]:
    """Return the mails still to send: those the message carries since a retry, and Odoo's."""
    mails: dict[str, Mail] = {}
    for one in [*notification.carried, *answer.get("emails", ())]:
        if isinstance(one, dict) and one.get("to"):
            mail = Mail(
                notification_id=notification.id,
                to=str(one["to"]),
                name=str(one.get("name") or ""),
                lang=str(one.get("lang") or "es_ES"),
                subject=str(one.get("subject") or ""),
                body_text=str(one.get("body_text") or ""),
            )
            mails.setdefault(mail.to.lower(), mail)
    return list(mails.values())
