"""Messages for tests: one notification, and a queue that is a list."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

from clinic.documents.parcel import Parcel

DOCUMENT_ID = "0b9d1c4e-8a55-4c0f-9b4e-0a6f7c1d2e3f"


def notification_body(notification_id: str, **metadata: Any) -> dict[str, Any]:
    """The body of a notification that a document was parked."""
    return {
        "document_id": DOCUMENT_ID,
        "document_type": "invoice",
        "patient_id": None,
        "file_path": f"/clinic/documents/{DOCUMENT_ID}/1/content",
        "metadata": {
            "notification_id": notification_id,
            "revision": 1,
            "number": 4,
            "event": "parked",
            "at": "2026-11-24T10:00:00+00:00",
            "reason": "wrong_hash",
            "detail": "The hash differs.",
        }
        | metadata,
    }


def notification(tag: int = 1, headers: dict[str, Any] | None = None, **metadata: Any) -> Parcel:
    notification_id = str(uuid.uuid4())
    return Parcel(
        tag=tag,
        routing_key="notification.send",
        body=json.dumps(notification_body(notification_id, **metadata)).encode(),
        message_id=notification_id,
        type="notification.send",
        headers=headers or {"x-attempt": 1, "x-schema-version": 1},
    )


class ListQueue:
    """A queue in memory; remembers the order of what was done."""

    def __init__(self, *parcels: Parcel) -> None:
        self.waiting = list(parcels)
        self.done: list[tuple[str, Any]] = []
        self.heartbeats = 0

    def batch(self, limit: int, wait_s: float) -> list[Parcel]:
        batch, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return batch

    def parked(self) -> Iterator[Parcel]:
        yield from self.waiting

    def publish(self, exchange: str, parcel: Parcel) -> None:
        self.done.append((exchange, parcel))

    def depth(self, name: str | None = None) -> int:
        return len(self.waiting)

    def put_back(self, parcel: Parcel) -> None:
        self.done.append(("put back", parcel.tag))

    def keep_alive(self) -> None:
        self.heartbeats += 1

    def ack(self, parcel: Parcel) -> None:
        self.done.append(("ack", parcel.tag))

    @property
    def acked(self) -> list[int]:
        return [what for verb, what in self.done if verb == "ack"]

    @property
    def published(self) -> list[tuple[str, Parcel]]:
        return [(verb, what) for verb, what in self.done if isinstance(what, Parcel)]
