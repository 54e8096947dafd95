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
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Protocol

from clinic.documents.mail import Mail, Mailer, UncertainError
from clinic.documents.parcel import PARKING_EXCHANGE, Parcel, now_text
from clinic.documents.reasons import ParkReason
from clinic.documents.retry import LAST_ATTEMPT, tier
from clinic.errors import ParkError, PermanentError, TransientError

log = logging.getLogger(__name__)

BATCH: Final = 50
MAX_BODY_BYTES: Final = 1_000_000

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

    def claim(self, notification_id: str, recipient: str) -> MailState:
        """Claim a mail and return NEW, or return how far it was already; durable on return."""
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
    mails: list[Mail] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.body["metadata"]["notification_id"])

    @property
    def document_id(self) -> str:
        return str(self.body["document_id"])

    @property
    def revision(self) -> int:
        return int(self.body["metadata"]["revision"])

    def told(self) -> dict[str, Any]:
        """Return what Odoo is told."""
        metadata = self.body["metadata"]
        return {"document_id": self.document_id} | {
            name: metadata[name] for name in TOLD if name in metadata
        }


class Notifier:
    """Takes notifications from the queue in batches, one call to Odoo for each.

    Args:
        odoo: Odoo, as the user of the documents' service.
        mailer: Sends the mails.
        ledger: Keeps who was sent what.
        queue: Where notifications wait.
        problems_of: Returns what is wrong with a decoded body by its JSON Schema; empty when
            nothing is.
    """

    def __init__(
        self,
        odoo: Odoo,
        mailer: Mailer,
        ledger: MailLedger,
        queue: Queue,
        problems_of: Callable[[Any], str],
    ) -> None:
        self._odoo = odoo
        self._mailer = mailer
        self._ledger = ledger
        self._queue = queue
        self._problems_of = problems_of
        self.summary = Summary()

    def run(self, max_s: float, idle_s: float) -> Summary:
        """Work until so many seconds are over, or none came for ``idle_s``; return what was done.

        Raises:
            TransientError: The broker went away. What was not acknowledged comes again.
        """
        end_at = time.monotonic() + max_s
        while (left_s := end_at - time.monotonic()) > 0:
            parcels = self._queue.batch(BATCH, min(idle_s, left_s))
            if not parcels:
                break
            self.handle(parcels)
        log.info("notifications: %s", self.summary.as_dict())
        return self.summary

    def handle(self, parcels: Sequence[Parcel]) -> None:
        """Do what a batch of messages asks for, and acknowledge each."""
        notifications = []
        for parcel in parcels:
            try:
                notifications.append(self._read(parcel))
            except ParkError as error:
                self._park(parcel, error)
        for notification, result in self._tell(notifications):
            if isinstance(result, TransientError):
                self._retry(notification, result)
            elif isinstance(result, ParkError):
                self._park(notification.parcel, result)
            else:
                self._finish(notification, result)

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

    # Odoo

    def _tell(
        self, notifications: Sequence[_Notification]
    ) -> list[tuple[_Notification, dict[str, Any] | TransientError | ParkError]]:
        """Tell Odoo of all, and return with each what Odoo answered or why it did not."""
        if not notifications:
            return []
        try:
            answers = self._call(notifications)
        except TransientError as error:
            return [(each, error) for each in notifications]
        except PermanentError as error:
            return self._tell_one_by_one(notifications, error)
        return [(each, answers.get(each.id) or _no_answer(each)) for each in notifications]

    def _tell_one_by_one(
        self, notifications: Sequence[_Notification], refused: PermanentError
    ) -> list[tuple[_Notification, dict[str, Any] | TransientError | ParkError]]:
        """Find the notification that Odoo refuses. Where it is all of them, none is at fault.

        A revoked key or a missing addon must not park what a person's repair lets through.
        """
        results: list[tuple[_Notification, dict[str, Any] | TransientError | ParkError]] = []
        for each in notifications:
            try:
                answer = self._call([each]).get(each.id) or _no_answer(each)
                results.append((each, answer))
            except TransientError as error:
                results.append((each, error))
            except PermanentError as error:
                results.append((each, ParkError(ParkReason.GAVE_UP, str(error))))
        if any(isinstance(result, dict) for _, result in results):
            return results
        log.warning("Odoo refuses every notification; trying again later: %s", refused)
        return [(each, TransientError(str(refused))) for each in notifications]

    def _call(self, notifications: Sequence[_Notification]) -> dict[str, dict[str, Any]]:
        answers = self._odoo.call(
            "clinic.document", "notify", notifications=[each.told() for each in notifications]
        )
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
        left: list[Mail] = []
        failure: TransientError | None = None
        for mail in _mails(notification, answer):
            try:
                self._send(notification, mail)
            except TransientError as error:
                left.append(mail)
                failure = error
        if failure is None:
            self._queue.ack(notification.parcel)
        else:
            self._retry(replace(notification, mails=left), failure)

    def _send(self, notification: _Notification, mail: Mail) -> None:
        """Send one mail, unless it was sent before or may have been."""
        state = self._ledger.claim(notification.id, mail.to)
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
            self._mailer.send(mail)
        except TransientError:
            self._ledger.release(notification.id, mail.to)
            raise
        except UncertainError as error:
            self._settle(notification, mail, MailState.UNCERTAIN, str(error))
        except PermanentError as error:
            self._settle(notification, mail, MailState.FAILED, str(error))
        else:
            self._settle(notification, mail, MailState.SENT, "")

    def _settle(
        self, notification: _Notification, mail: Mail, state: MailState, detail: str
    ) -> None:
        self._ledger.settle(
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

    # What did not succeed

    def _retry(self, notification: _Notification, error: TransientError) -> None:
        """Put a copy into the retry tier of its attempt, with the mails that are still to send."""
        parcel, attempt = notification.parcel, notification.parcel.attempt
        if attempt >= LAST_ATTEMPT:
            self._park(parcel, ParkError(ParkReason.GAVE_UP, f"After {attempt} attempts: {error}"))
            return
        body = parcel.body
        if notification.mails:  # Odoo need not say them again
            mails = [asdict(mail) for mail in notification.mails]
            content = notification.body | {
                "metadata": notification.body["metadata"] | {"mails": mails}
            }
            body = json.dumps(content, ensure_ascii=False).encode()
        copy = replace(parcel, body=body, headers=parcel.copy_headers(attempt=attempt + 1))
        self._queue.publish(f"documents.retry.{tier(attempt)}", copy)
        self._queue.ack(parcel)
        self.summary.retried += 1
        log.warning("notification %s, attempt %d: %s", notification.id, attempt, error)

    def _park(self, parcel: Parcel, error: ParkError) -> None:
        headers = parcel.copy_headers(
            attempt=parcel.attempt,
            x_park_reason=str(error.reason),
            x_park_detail=str(error)[:1000],
            x_parked_at=now_text(),
        )
        self._queue.publish(PARKING_EXCHANGE, replace(parcel, headers=headers))
        self._queue.ack(parcel)
        self.summary.parked += 1
        log.warning("notification parked, %s: %s", error.reason, error)


def _no_answer(notification: _Notification) -> TransientError:
    return TransientError(
        f"Odoo clinic.document.notify: no answer about notification {notification.id}. Trying "
        "again may help; is the addon of this version?"
    )


def _mails(notification: _Notification, answer: Mapping[str, Any]) -> list[Mail]:
    """Return the mails still to send: those the message carries since a retry, and Odoo's."""
    carried = notification.body["metadata"].get("mails")
    given = [*(carried if isinstance(carried, list) else ()), *answer.get("emails", ())]
    mails: dict[str, Mail] = {}
    for one in given:
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
