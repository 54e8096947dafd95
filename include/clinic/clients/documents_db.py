"""The part of the shared database where documents are kept; SQL in documents.sql."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from clinic.clients.locks import DRAIN_LOCKS
from clinic.clients.shared_db import SharedDb
from clinic.documents.drain import Begun, Failure, Kept, Outcome, Reservation
from clinic.documents.history import Step
from clinic.documents.message import DocumentMessage
from clinic.documents.outbox import Notification
from clinic.documents.settings import TYPE_OF_QUEUE
from clinic.documents.store import Stored
from clinic.errors import TransientError

type _Key = tuple[str, int]


class DocumentsDb(SharedDb):
    """Keeps where each document is, and what is still to be told.

    Each method is one transaction for all that it is given. What a repeat needs to know is on disk
    when it returns; a crash of the server may lose the rest, which is then simply done again.

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
        self._locked_on: psycopg.Connection[dict[str, Any]] | None = None

    def open_drain(self) -> None:
        """Become the only drain of the queue.

        Raises:
            TransientError: The database is out of reach, or another process drains the queue.
        """
        with self._doing("taking over the queue") as connection:
            if self._locked_on is connection:
                return
            if not self._queries.try_drain_lock(connection, lock_id=DRAIN_LOCKS[self._queue]):
                raise TransientError(
                    f"Shared database: another process drains {self._queue} (it holds advisory "
                    f"lock {DRAIN_LOCKS[self._queue]}). Wait until it ends, or end it."
                )
            self._locked_on = connection

    def begin(
        self, messages: Sequence[DocumentMessage], before: Sequence[Sequence[Step]] = ()
    ) -> list[Begun | Kept]:
        """Note that storing begins, each document once; return with each what was known of it."""
        with self.transaction("beginning documents"):
            connection = self._mine()
            self._queries.need_not_be_on_disk(connection)
            steps = [
                (message, step)
                for message, happened in zip(messages, before, strict=False)
                for step in happened
            ]
            if steps:
                self._queries.add_steps(
                    connection,
                    **_keys([message for message, _ in steps]),
                    states=[step.state for _, step in steps],
                    instants=[step.at for _, step in steps],
                    actors=[step.actor for _, step in steps],
                )
            rows = self._queries.begin_documents(
                connection,
                **_keys(messages),
                types=[message.document_type for message in messages],
                patient_ids=[message.patient_id for message in messages],
                numbers=[message.metadata.number for message in messages],
                file_names=[message.metadata.file_name for message in messages],
                checksums=[message.metadata.sha256 for message in messages],
                sizes=[message.metadata.size_bytes for message in messages],
                actor=self._actor,
            )
            begun = {_key(row): Begun(row["reserved_id"], row["reserved_in"]) for row in rows}
            kept = self._kept([message for message in messages if _id(message) not in begun])
        return [begun.get(_id(message)) or kept[_id(message)] for message in messages]

    def kept(self, messages: Sequence[DocumentMessage]) -> list[Kept | None]:
        """Return with each document whether it is stored."""
        with self._doing("looking for stored documents"):
            kept = self._kept(messages)
        return [kept.get(_id(message)) for message in messages]

    def _kept(self, messages: Sequence[DocumentMessage]) -> dict[_Key, Kept]:
        if not messages:
            return {}
        rows = self._queries.kept_documents(self._mine(), **_keys(messages))
        return {_key(row): Kept(row["sha256"]) for row in rows}

    def reserve(self, reservations: Sequence[Reservation]) -> None:
        """Keep the ids that stores gave, before anything is stored under them."""
        with self._doing("keeping reserved ids"):
            self._queries.reserve_documents(
                self._mine(),
                **_keys([one.message for one in reservations]),
                stores=[one.store for one in reservations],
                places=[one.place for one in reservations],
                reserved_ids=[one.reserved_id for one in reservations],
            )

    def settle(self, outcomes: Sequence[Outcome]) -> list[Notification]:
        """Keep what became of documents, each once, and what is to be told of it."""
        with self.transaction("keeping what became of documents"):
            # Also of what was told before a kill: its next try has written "storing" over it.
            self._keep_states(outcomes)
            new = self._not_told(outcomes)
            if not new:
                return []
            numbers = {
                _key(row): row["number"]
                for row in self._queries.add_events(
                    self._mine(),
                    **_keys([one.message for one in new]),
                    states=[_state(one) for one in new],
                    details=[json.dumps(_told(one)) for one in new],
                    actor=self._actor,
                )
            }
            notifications = [one.notification(numbers[_id(one.message)]) for one in new]
            rows = self._queries.add_notifications(
                self._mine(),
                notification_ids=[each.id for each in notifications],
                **_keys([one.message for one in new]),
                kinds=[_state(one) for one in new],
                occasions=[_occasion(one) for one in new],
                payloads=[json.dumps(each.body) for each in notifications],
            )
            added = {str(row["notification_id"]) for row in rows}
        return [each for each in notifications if each.id in added]

    def _not_told(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Leave out failures that a drain kept before it was killed."""
        failures = [one for one in outcomes if isinstance(one.result, Failure)]
        if not failures:
            return list(outcomes)
        rows = self._queries.told_already(
            self._mine(),
            **_keys([one.message for one in failures]),
            kinds=[_state(one) for one in failures],
            occasions=[_occasion(one) for one in failures],
        )
        told = {_key(row) for row in rows}
        return [
            one
            for one in outcomes
            if isinstance(one.result, Stored) or _id(one.message) not in told
        ]

    def _keep_states(self, outcomes: Sequence[Outcome]) -> None:
        stored = [(one.message, one.result) for one in outcomes if isinstance(one.result, Stored)]
        failed = [(one.message, one.result) for one in outcomes if isinstance(one.result, Failure)]
        if stored:
            self._queries.store_documents(
                self._mine(),
                **_keys([message for message, _ in stored]),
                stores=[result.store for _, result in stored],
                file_ids=[result.file_id for _, result in stored],
                urls=[result.url for _, result in stored],
                checksums=[result.sha256 for _, result in stored],
                sizes=[result.size_bytes for _, result in stored],
            )
        if failed:
            self._queries.fail_documents(
                self._mine(),
                **_keys([message for message, _ in failed]),
                states=[result.state for _, result in failed],
                reasons=[result.reason for _, result in failed],
                details=[result.detail for _, result in failed],
            )

    def tell_again(self, messages: Sequence[DocumentMessage]) -> None:
        """Let the notifications of stored documents be published once more."""
        with self._doing("telling of documents again"):
            self._queries.tell_again(self._mine(), **_keys(messages))

    def unsent(self, most: int) -> list[Notification]:
        """Return what this queue's documents have to tell still, at most so many, oldest first."""
        with self._doing("looking for notifications"):
            rows = self._queries.unsent_notifications(
                self._mine(), document_type=TYPE_OF_QUEUE[self._queue], most=most
            )
            return [Notification(str(row["notification_id"]), row["payload"]) for row in rows]

    def mark_sent(self, notification_ids: Sequence[str]) -> None:
        """Note that notifications were published. One published twice is known by its id."""
        with self.transaction("noting notifications"):
            self._queries.need_not_be_on_disk(self._mine())
            self._queries.mark_sent(self._mine(), notification_ids=list(notification_ids))

    @property
    def _actor(self) -> str:
        return f"drain {self._queue}"

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


def _id(message: DocumentMessage) -> _Key:
    return message.document_id.lower(), message.revision


def _key(row: Mapping[str, Any]) -> _Key:
    return str(row["document_id"]), row["revision"]


def _keys(messages: Sequence[DocumentMessage]) -> dict[str, list[Any]]:
    return {
        "document_ids": [message.document_id for message in messages],
        "revisions": [message.revision for message in messages],
    }


def _state(outcome: Outcome) -> str:
    return "stored" if isinstance(outcome.result, Stored) else outcome.result.state


def _occasion(outcome: Outcome) -> str:
    return "" if isinstance(outcome.result, Stored) else outcome.result.occasion


def _told(outcome: Outcome) -> dict[str, Any]:
    match outcome.result:
        case Stored() as stored:
            return {"url": stored.url, "store": stored.store, "created": stored.created}
        case failure:
            return {"reason": failure.reason, "detail": failure.detail}
