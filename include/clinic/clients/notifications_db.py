"""The part of the shared database where mails and replays are kept; SQL in notifications.sql."""

from __future__ import annotations

import json
from typing import Any

import psycopg

from clinic.clients.locks import NOTIFIER_LOCK
from clinic.clients.shared_db import SharedDb
from clinic.documents.notify import MailState
from clinic.documents.replay import Parked
from clinic.errors import TransientError


class NotificationsDb(SharedDb):
    """Keeps who was sent what, and who replayed what. A commit is on disk when it returns.

    Args:
        conninfo: A libpq address, as the role ``clinica_sync``.
        statement_timeout_s: The longest that any one statement may take.
    """

    def __init__(self, conninfo: str, *, statement_timeout_s: float = 30) -> None:
        super().__init__(
            conninfo, name="notifications", statement_timeout_s=statement_timeout_s, is_durable=True
        )
        self._locked_on: psycopg.Connection[dict[str, Any]] | None = None

    def claim(
        self, notification_id: str, recipient: str, attempt: int, *, is_carried: bool
    ) -> MailState:
        """Claim a mail and return NEW, or return how far it was already.

        Args:
            notification_id: What the mail is about.
            recipient: Whom it is for.
            attempt: The number of this attempt.
            is_carried: The message says that the mail is still to send: take over the claim of an
                earlier attempt.

        Raises:
            TransientError: The database is out of reach, or another process sends mails.
        """
        with self._doing("claiming a mail") as connection:
            if self._locked_on is not connection:
                if not self._queries.try_notifier_lock(connection, lock_id=NOTIFIER_LOCK):
                    raise TransientError(
                        "Shared database: another process sends notifications (it holds advisory "
                        f"lock {NOTIFIER_LOCK}). Wait until it ends, or end it."
                    )
                self._locked_on = connection
            mail = {"notification_id": notification_id, "recipient": recipient.lower()}
            if self._queries.claim_mail(connection, **mail, attempt=attempt, is_carried=is_carried):
                return MailState.NEW
            return MailState(self._queries.mail_state(connection, **mail))

    def release(self, notification_id: str, recipient: str) -> None:
        """Give a claim back: the mail was surely not sent."""
        with self._doing("giving a mail's claim back") as connection:
            self._queries.release_mail(
                connection, notification_id=notification_id, recipient=recipient.lower()
            )

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
        """Keep a mail's outcome, and say it in the document's timeline, in one transaction."""
        told = {"notification_id": notification_id, "recipient": recipient, "detail": detail}
        with self._doing("keeping a mail's outcome") as connection, connection.transaction():
            self._queries.settle_mail(
                connection,
                notification_id=notification_id,
                recipient=recipient.lower(),
                state=state.value,
            )
            self._queries.tell_timeline(
                connection,
                document_id=document_id,
                revision=revision,
                state=f"mail_{state.value}",
                detail=json.dumps(told, ensure_ascii=False),
                actor="drain_notifications",
            )

    def timeline(self, document_id: str) -> list[dict[str, Any]]:
        """Return everything that happened to a document, the first event first."""
        with self._doing("reading a timeline") as connection:
            return list(self._queries.read_timeline(connection, document_id=document_id))

    def record_replay(
        self, *, queue: str, message_id: str | None, parked: Parked, person: str, reason: str
    ) -> None:
        """Keep who replayed a message, and why."""
        del parked  # the message's own id leads to its document
        with self._doing("keeping a replay") as connection:
            self._queries.record_replay(
                connection, who=person, why=reason, queue=queue, message_id=message_id or ""
            )
