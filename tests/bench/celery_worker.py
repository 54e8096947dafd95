"""A Celery worker that stores documents as the drain does, to be measured beside it.

Each task makes the drain's steps with the drain's own code, one document at a time: noted in the
shared database, downloaded, checked, an id reserved, stored, its row, event and notification in one
transaction, the notification published with a confirm, and only then acknowledged (acks_late).
"""

import os
import sys
import uuid
from functools import cache
from pathlib import Path
from typing import Any

import pika
from celery import Celery

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from clinic.clients.broker_queue import BrokerQueue  # noqa: E402
from clinic.clients.documents_db import DocumentsDb  # noqa: E402
from clinic.documents.check import check_file  # noqa: E402
from clinic.documents.drain import Begun, Outcome, Reservation  # noqa: E402
from clinic.documents.message import parse  # noqa: E402
from clinic.documents.outbox import Notification, notification_body, notification_copy  # noqa: E402
from clinic.documents.pdf import PdfOpener  # noqa: E402
from clinic.documents.store import Upload  # noqa: E402
from support.draining import QUEUE, FolderOdoo, FolderStore  # noqa: E402

app = Celery("bench", broker=os.environ["BENCH_BROKER"], set_as_current=False)
app.conf.update(
    task_default_queue="celery.documents",
    task_default_queue_type="quorum",  # kept as the drain's queues are
    task_acks_late=True,
    task_ignore_result=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=3,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)


class Shared(DocumentsDb):
    """The ledger without the lock that lets one process alone drain a queue."""

    def open_drain(self) -> None:
        with self._doing("opening") as connection:
            self._locked_on = connection


class Rig:
    """What one worker process keeps."""

    def __init__(self) -> None:
        self.ledger = Shared(os.environ["BENCH_DATABASE"], QUEUE)
        self.ledger.open_drain()
        self.odoo = FolderOdoo(Path(os.environ["BENCH_FOLDER"]) / "odoo")
        self.store = FolderStore(Path(os.environ["BENCH_FOLDER"]) / "store")
        self.pdfs = PdfOpener()
        parameters = pika.URLParameters(os.environ["BENCH_AMQP"])
        self.queue = BrokerQueue(lambda: pika.BlockingConnection(parameters), QUEUE)
        self.spooled = Path(os.environ["BENCH_FOLDER"]) / f"spooled.{os.getpid()}"


@cache
def rig() -> Rig:
    return Rig()


@app.task(name="store")
def store(body: str) -> None:
    """Store one document."""
    me, message = rig(), parse("invoice.created", body.encode())
    (known,) = me.ledger.begin([message])
    if not isinstance(known, Begun):
        return
    expected = message.metadata
    me.odoo.download(message.file_path, me.spooled, expected.size_bytes)
    check_file(me.spooled, message, me.pdfs)
    reserved_id = me.store.reserve()
    me.ledger.reserve([Reservation(message, me.store.name, me.store.place, reserved_id)])
    stored = me.store.put(
        Upload(
            document_id=message.document_id,
            revision=message.revision,
            document_type=message.document_type,
            file_name=expected.file_name,
            content_type=expected.content_type,
            path=me.spooled,
            size_bytes=expected.size_bytes,
            sha256=expected.sha256,
            date=expected.date,
            reserved_id=reserved_id,
        )
    )
    facts: dict[str, Any] = {
        "url": stored.url,
        "store": stored.store,
        "sha256": stored.sha256,
        "size_bytes": stored.size_bytes,
    }
    notification_id = str(uuid.uuid4())

    def tell(number: int) -> Notification:
        told = notification_body(message, notification_id, number, "stored", facts)
        return Notification(notification_id, told)

    for notification in me.ledger.settle([Outcome(message, stored, tell)]):
        copy = notification_copy(notification)
        me.queue.publish(copy.exchange, copy.parcel)
        me.ledger.mark_sent([notification.id])
