"""The part of the shared database where documents are kept; SQL in documents.sql."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import psycopg

from clinic.clients.shared_db import SharedDb
from clinic.documents.drain import Begun
from clinic.documents.message import DocumentMessage
from clinic.documents.store import Stored
from clinic.errors import TransientError

_FIRST_LOCK: Final = 0x636C_696E_6963_0020  # "clinic", 32 and on: one lock a queue
_LOCKS: Final = {"invoice_queue": _FIRST_LOCK, "medical_records_queue": _FIRST_LOCK + 1}


class DocumentsDb(SharedDb):
    """Keeps where each document is, and what is still to be told. A commit is on disk on return.

    Its methods may be called from several threads: they take turns.

    Args:
        conninfo: A libpq address, as the role ``clinica_sync``.
        queue: Whose drain this is; there is one at a time.
        statement_timeout_s: The longest that any one statement may take.
    """

    def __init__(self, conninfo: str, queue: str, *, statement_timeout_s: float = 30) -> None:
        super().__init__(
            conninfo,
            name=f"drain {queue}",
            statement_timeout_s=statement_timeout_s,
            is_durable=True,
        )
        self._queue = queue
        self._turn = threading.RLock()
        self._locked_on: psycopg.Connection[dict[str, Any]] | None = None

    def open_drain(self) -> None:
        """Become the only drain of the queue.

        Raises:
            TransientError: The database is out of reach, or another process drains the queue.
        """
        with self._turn, self._doing("taking over the queue") as connection:
            if self._locked_on is connection:
                return
            if not self._queries.try_drain_lock(connection, lock_id=_LOCKS[self._queue]):
                raise TransientError(
                    f"Shared database: another process drains {self._queue} (it holds advisory "
                    f"lock {_LOCKS[self._queue]}). Wait until it ends, or end it."
                )
            self._locked_on = connection

    def begin(self, message: DocumentMessage) -> Begun | None:
        """Note that storing a document begins; None when it is stored already."""
        with self._turn, self.transaction("beginning a document"):
            connection = self._mine()
            row = self._queries.begin_document(
                connection,
                **_key(message),
                document_type=message.document_type,
                patient_id=message.patient_id,
                number=message.metadata.number,
                file_name=message.metadata.file_name,
                sha256=message.metadata.sha256,
                size_bytes=message.metadata.size_bytes,
            )
            if row is None:
                return None
            self._event(message, "storing", {})
            return Begun(store=row["store"], reserved_id=row["reserved_id"])

    def reserve(self, message: DocumentMessage, store: str, reserved_id: str | None) -> None:
        """Keep the id that the store gave, before anything is stored under it."""
        with self._turn, self._doing("keeping a reserved id"):
            self._queries.reserve_document(
                self._mine(), **_key(message), store=store, reserved_id=reserved_id
            )

    def stored(
        self, message: DocumentMessage, stored: Stored, notification: Callable[[int], Notification]
    ) -> None:
        """Keep where a document lies, and what is to be told of it, in one transaction."""
        told = {"url": stored.url, "store": stored.store, "created": stored.created}
        with self._turn, self.transaction("keeping a stored document"):
            self._queries.store_document(
                self._mine(),
                **_key(message),
                store=stored.store,
                file_id=stored.file_id,
                url=stored.url,
                sha256=stored.sha256,
                size_bytes=stored.size_bytes,
            )
            self._tell(message, "stored", "", told, notification)

    def failed(
        self,
        message: DocumentMessage,
        state: str,
        occasion: str,
        reason: str,
        detail: str,
        notification: Callable[[int], Notification],
    ) -> None:
        """Keep that a document is ``retrying`` or ``parked``, and what is to be told of it."""
        with self._turn, self.transaction("keeping a failed document"):
            self._queries.fail_document(
                self._mine(), **_key(message), state=state, reason=reason, detail=detail
            )
            told = {"reason": reason, "detail": detail}
            self._tell(message, state, occasion, told, notification)

    def tell_again(self, message: DocumentMessage) -> None:
        """Let the notification of a stored document be published once more."""
        with self._turn, self._doing("telling of a document again"):
            self._queries.tell_again(self._mine(), **_key(message))

    def publish_unsent(self, most: int, publish: Callable[[str, Mapping[str, Any]], None]) -> int:
        """Publish what is to be told, at most so many, and note that it was; return how many."""
        with self._turn, self.transaction("publishing notifications"):
            connection = self._mine()
            rows = list(self._queries.unsent_notifications(connection, most=most))
            for row in rows:
                publish(str(row["notification_id"]), row["payload"])
            if rows:
                sent = [row["notification_id"] for row in rows]
                self._queries.mark_sent(connection, notification_ids=sent)
            return len(rows)

    def _tell(
        self,
        message: DocumentMessage,
        state: str,
        occasion: str,
        told: Mapping[str, Any],
        notification: Callable[[int], Notification],
    ) -> None:
        number = self._event(message, state, told)
        notification_id, payload = notification(number)
        self._queries.add_notification(
            self._mine(),
            notification_id=notification_id,
            **_key(message),
            kind=state,
            occasion=occasion,
            payload=json.dumps(payload),
        )

    def _event(self, message: DocumentMessage, state: str, told: Mapping[str, Any]) -> int:
        number: int = self._queries.add_event(
            self._mine(),
            **_key(message),
            state=state,
            detail=json.dumps(told),
            actor=f"drain {self._queue}",
        )
        return number

    def _mine(self) -> psycopg.Connection[dict[str, Any]]:
        """Return the connection that holds the queue's lock.

        Raises:
            TransientError: It was lost, and with it the lock: somebody else may drain by now.
        """
        if self._connection is None or self._connection is not self._locked_on:
            raise TransientError(
                f"Shared database: the connection that drained {self._queue} was lost. The next "
                "run goes on."
            )
        return self._connection


type Notification = tuple[str, Mapping[str, Any]]
"""A notification's id, and its message's body."""


def _key(message: DocumentMessage) -> dict[str, Any]:
    return {"document_id": message.document_id, "revision": message.revision}
