"""Notifications of what became of documents: the messages of ``notification_queue``.

They are written down in the transaction of what they tell, and published after it. A kill between
publishing and noting it publishes one twice, under the same id.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from clinic.documents.fate import Copy
from clinic.documents.message import DocumentMessage
from clinic.documents.parcel import EXCHANGE, Parcel

ROUTING_KEY: Final = "notification.send"


@dataclass(frozen=True, slots=True)
class Notification:
    """Something to tell: its own id, and its message's body."""

    id: str
    body: Mapping[str, Any]


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


def notification_copy(notification: Notification) -> Copy:
    """Return the message that carries a notification, and where it goes.

    Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/amqp-protocol-binding.md
    """
    parcel = Parcel(
        tag=0,
        routing_key=ROUTING_KEY,
        body=json.dumps(notification.body, ensure_ascii=False).encode(),
        message_id=notification.id,
        type=ROUTING_KEY,
        timestamp=int(time.time()),
        headers={
            "x-attempt": 1,
            "x-schema-version": 1,
            "cloudEvents:specversion": "1.0",
            "cloudEvents:id": notification.id,
            "cloudEvents:source": "/airflow/drain",
            "cloudEvents:type": "clinic.notification.send",
            "cloudEvents:time": notification.body["metadata"]["at"],
        },
    )
    return Copy(EXCHANGE, parcel)
