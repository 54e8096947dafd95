"""A drain between a real broker and a real database; Odoo and the store are folders.

``python -m support.draining AMQP_URL DATABASE_URL SOURCE STORE [DIE_AT]`` runs it in a process of
its own, which kills itself with SIGKILL the first time it comes to the step DIE_AT: right after it,
or before it when its name ends in -ing.
"""

import hashlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pika
from clinic.clients.broker_queue import BrokerQueue
from clinic.clients.documents_db import DocumentsDb
from clinic.documents.drain import Drain, DrainSummary
from clinic.documents.reasons import ParkReason
from clinic.documents.store import Stored, Upload
from clinic.errors import ParkError, PermanentError
from pypdf import PdfWriter

QUEUE = "invoice_queue"


def pdf(words: str) -> bytes:
    """A small PDF that opens; other words give other bytes."""
    writer = PdfWriter()
    writer.add_blank_page(width=200, height=200)
    writer.add_metadata({"/Title": words})
    content = io.BytesIO()
    writer.write(content)
    return content.getvalue()


def message(content: bytes, document_id: str | None = None, **metadata: Any) -> dict[str, Any]:
    """The body of the message that says to store an invoice with this content."""
    document_id = document_id or str(uuid.uuid4())
    known = {
        "revision": 1,
        "number": "INV/2026/00001",
        "date": "2026-11-24",
        "file_name": "INV_2026_00001.pdf",
        "content_type": "application/pdf",
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "company": "Clínica",
        "title": "Factura INV/2026/00001",
    } | metadata
    return {
        "document_id": document_id,
        "document_type": "invoice",
        "patient_id": None,
        "file_path": f"/clinic/documents/{document_id}/{known['revision']}/content",
        "metadata": known,
    }


class FolderOdoo:
    """Serves documents from a folder, each under its id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def offer(self, body: Mapping[str, Any], content: bytes) -> None:
        """Have a document."""
        (self.folder / body["document_id"]).write_bytes(content)

    def download(self, path: str, sink: Path, max_bytes: int) -> None:
        try:
            shutil.copyfile(self.folder / path.split("/")[3], sink)
        except FileNotFoundError as error:
            raise ParkError(ParkReason.GONE_IN_ODOO, f"Odoo has no {path}.") from error


class FolderStore:
    """Keeps documents in a folder, each whole or not at all; never writes over one."""

    name = "folder"

    @property
    def place(self) -> str:
        return str(self.folder)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._halves = folder.with_name(f"{folder.name}.halves")
        for place in (folder, self._halves):
            place.mkdir(parents=True, exist_ok=True)

    def reserve(self) -> str | None:
        return str(uuid.uuid4())

    def put(self, upload: Upload) -> Stored:
        assert upload.reserved_id
        target = self.folder / upload.reserved_id
        content = upload.path.read_bytes()
        with tempfile.NamedTemporaryFile(dir=self._halves) as whole:
            whole.write(content)
            whole.flush()
            try:
                os.link(whole.name, target)
                created = True
            except FileExistsError:
                if target.read_bytes() != content:
                    raise PermanentError(f"Other bytes lie at {target}.") from None
                created = False
        return Stored(
            store=self.name,
            file_id=upload.reserved_id,
            url=f"https://store.example/{upload.reserved_id}",
            size_bytes=upload.size_bytes,
            sha256=upload.sha256,
            created=created,
        )

    def check(self) -> str:
        return str(self.folder)

    def close(self) -> None:
        pass


STEPS = (
    "begun", "downloaded", "reserved", "put", "kept", "copying", "copied", "told", "acknowledged",
)  # fmt: skip


def _dying_at(step: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def last(*args: Any, **kwargs: Any) -> Any:
        if not step.endswith("ing"):
            call(*args, **kwargs)
        print(step, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    return last


def run(
    amqp_url: str,
    database_url: str,
    odoo: Any,
    store: Any,
    *,
    idle_s: float = 0.5,
    die_at: str = "",
    spool_dir: Path | None = None,
    max_s: float = 600,
    document_type: str = "invoice",
    **options: Any,
) -> DrainSummary:
    """Work until the queue is empty."""
    queue = BrokerQueue(lambda: pika.BlockingConnection(pika.URLParameters(amqp_url)), QUEUE)
    killed = BrokerQueue(
        lambda: pika.BlockingConnection(pika.URLParameters(amqp_url)), f"{QUEUE}.killed"
    )
    ledger = DocumentsDb(database_url, QUEUE)
    victims = {
        "begun": (ledger, "begin"),
        "downloaded": (odoo, "download"),
        "reserved": (ledger, "reserve"),
        "put": (store, "put"),
        "kept": (ledger, "settle"),
        # A notification, or a copy that is retried or parked.
        "copying": (queue, "publish_all"),
        "copied": (queue, "publish_all"),
        "told": (ledger, "mark_sent"),
        "acknowledged": (queue, "ack"),
    }
    if die_at:
        victim, name = victims[die_at]
        setattr(victim, name, _dying_at(die_at, getattr(victim, name)))
    with (
        tempfile.TemporaryDirectory(prefix="drain-") as spool,
        closing(queue),
        closing(killed),
        closing(ledger),
    ):
        drain = Drain(
            queue, killed, ledger, odoo, {document_type: store}, spool_dir or Path(spool), **options
        )
        return drain.run(max_s, idle_s)


def parcel_of(body: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """The bytes and properties by which Odoo publishes a message."""
    revision = body["metadata"]["revision"]
    return json.dumps(body).encode(), {
        "message_id": f"{body['document_id']}.{revision}",
        "content_type": "application/json",
        "type": "invoice.created",
        "timestamp": int(datetime(2026, 11, 24, tzinfo=UTC).timestamp()),
        "headers": {"x-attempt": 1, "x-schema-version": 1},
    }


def main(arguments: list[str]) -> None:
    amqp_url, database_url, source, store, *die_at = arguments
    run(
        amqp_url,
        database_url,
        FolderOdoo(Path(source)),
        FolderStore(Path(store)),
        die_at="".join(die_at),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
