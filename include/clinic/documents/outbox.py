"""Publishing what the ledger has to tell: the notifications of ``notification_queue``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from clinic.documents.message import DocumentMessage
from clinic.documents.parcel import EXCHANGE, Parcel

ROUTING_KEY: Final = "notification.send"
_AT_ONCE: Final = 100


class Outbox(Protocol):
    """Where notifications wait."""

    def publish_unsent(self, most: int, publish: Callable[[str, Mapping[str, Any]], None]) -> int:
        """Publish what is to be told, and note that it was; return how many."""
        ...


class Publisher(Protocol):
    """Publishes with confirms."""

    def publish(self, exchange: str, parcel: Parcel) -> None:
        """Publish, and return when the broker has it in a queue."""
        ...


def publish_outbox(outbox: Outbox, publisher: Publisher) -> int:
    """Publish everything that is to be told; return how much it was.

    A kill between publishing and noting it publishes a notification twice, under the same id.

    Raises:
        TransientError: The broker or the database is out of reach.
    """

    def publish(notification_id: str, body: Mapping[str, Any]) -> None:
        publisher.publish(EXCHANGE, notification_parcel(notification_id, body))

    told = 0
    while count := outbox.publish_unsent(_AT_ONCE, publish):
        told += count
    return told


def notification_body(
    message: DocumentMessage,
    notification_id: str,
    number: int,
    event: str,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a notification's body, in the form of notification.schema.json.

    Args:
        message: The document that it is about.
        notification_id: Its own id.
        number: The event's number in the document's timeline.
        event: ``stored``, ``retrying`` or ``parked``.
        facts: What the schema asks of that event.
    """
    return {
        "document_id": message.document_id,
        "document_type": message.document_type,
        "patient_id": message.patient_id,
        "file_path": message.file_path,
        "metadata": {
            "notification_id": notification_id,
            "revision": message.revision,
            "number": number,
            "event": event,
            "at": datetime.now(UTC).isoformat(),
            **facts,
        },
    }


def notification_parcel(notification_id: str, body: Mapping[str, Any]) -> Parcel:
    """Return the message that carries a notification.

    Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/amqp-protocol-binding.md
    """
    return Parcel(
        tag=0,
        routing_key=ROUTING_KEY,
        body=json.dumps(body, ensure_ascii=False).encode(),
        message_id=notification_id,
        type=ROUTING_KEY,
        timestamp=int(time.time()),
        headers={
            "x-attempt": 1,
            "x-schema-version": 1,
            "cloudEvents:specversion": "1.0",
            "cloudEvents:id": notification_id,
            "cloudEvents:source": "/airflow/drain",
            "cloudEvents:type": "clinic.notification.send",
            "cloudEvents:time": body["metadata"]["at"],
        },
    )
