"""``clinic documents``: what is parked and why, replay it, and one document's whole path."""

from __future__ import annotations

import getpass
from contextlib import closing
from datetime import datetime
from typing import Annotated
from uuid import UUID

import pika
import typer

from clinic.clients.broker_queue import BrokerQueue
from clinic.clients.notifications_db import NotificationsDb
from clinic.documents import replay as use_case
from clinic.documents.drain import UNROUTED
from clinic.documents.parcel import EXCHANGE
from clinic.documents.reasons import ParkReason
from clinic.documents.replay import Selection, WorkQueue
from clinic.errors import PermanentError
from clinic.tables import print_table, readable_size

app = typer.Typer(help="Documents on their way, and those that were parked.", no_args_is_help=True)

AmqpUrl = Annotated[
    str, typer.Option(envvar="AMQP_URL", help="amqp:// address of the broker.", show_default=False)
]
SharedUrl = Annotated[
    str,
    typer.Option(
        envvar="SHARED_DB_SYNC_URL",
        help="postgresql:// address, as clinica_sync.",
        show_default=False,
    ),
]
Queue = Annotated[WorkQueue, typer.Argument(help="The queue whose parked messages are meant.")]
DocumentType = Annotated[
    str | None, typer.Option("--type", help="Only these: invoice or medical_record.")
]
Reason = Annotated[ParkReason | None, typer.Option(help="Only those parked for this reason.")]
From = Annotated[datetime | None, typer.Option("--from", help="Not those parked before (UTC).")]
To = Annotated[datetime | None, typer.Option("--to", help="Not those parked then or later (UTC).")]
Limit = Annotated[int, typer.Option(min=1, help="Not more than so many, the oldest.")]


@app.command()
def parked(
    queue: Queue,
    amqp_url: AmqpUrl,
    document_type: DocumentType = None,
    reason: Reason = None,
    parked_from: From = None,
    parked_to: To = None,
    limit: Limit = 1000,
) -> None:
    """List parked messages; they stay where they are."""
    selection = Selection(document_type, reason, parked_from, parked_to, limit)
    lot = _lot(amqp_url, queue)
    try:
        found = use_case.plan(lot, selection)
        lost = lot.depth(UNROUTED)
    finally:
        lot.close()
    if found.first:
        print_table(
            ("parked at", "type", "message", "reason", "detail"),
            [
                (
                    one.parked_at.isoformat(" ", "seconds") if one.parked_at else None,
                    one.document_type,
                    one.message_id,
                    one.reason,
                    one.detail,
                )
                for one in found.first
            ],
        )
    reasons = ", ".join(f"{count} {name}" for name, count in found.by_reason.most_common())
    typer.echo(f"{found.count} of {found.seen} parked messages{': ' if reasons else ''}{reasons}")
    if lost:
        typer.echo(f"{lost} more lie in {UNROUTED}: see `clinic documents unrouted`.")


@app.command()
def replay(
    queue: Queue,
    amqp_url: AmqpUrl,
    shared_db_url: SharedUrl,
    why: Annotated[str, typer.Option(help="Why; kept with your name.", show_default=False)],
    document_type: DocumentType = None,
    reason: Reason = None,
    parked_from: From = None,
    parked_to: To = None,
    limit: Limit = 100,
) -> None:
    """Send parked messages on their way again, as the DAG replay_parked_documents does."""
    selection = Selection(document_type, reason, parked_from, parked_to, limit)
    lot, ledger = _lot(amqp_url, queue), NotificationsDb(shared_db_url)
    try:
        count = use_case.replay(lot, ledger, queue, selection, person=getpass.getuser(), reason=why)
    finally:
        lot.close()
        ledger.close()
    typer.echo(f"{count} message{'' if count == 1 else 's'} replayed.")


@app.command()
def timeline(document_id: str, shared_db_url: SharedUrl) -> None:
    """Print everything that happened to one document."""
    try:
        known_id = str(UUID(document_id))
    except ValueError as error:
        raise PermanentError(f"{document_id!r} is no document's id.") from error
    with closing(NotificationsDb(shared_db_url)) as ledger:
        rows = ledger.timeline(known_id)
    if not rows:
        raise PermanentError(f"Nothing is known of document {document_id}.")
    print_table(
        ("at", "revision", "what", "by", "detail"),
        [
            (
                row["at"].isoformat(" ", "milliseconds"),
                row["revision"],
                row["state"],
                row["actor"],
                row["detail"],
            )
            for row in rows
        ],
    )


@app.command()
def unrouted(
    amqp_url: AmqpUrl,
    send_on: Annotated[
        bool, typer.Option(help="Publish each anew by its own routing key; bind its queue first.")
    ] = False,
) -> None:
    """List what no queue was bound for; it stays where it is unless sent on."""
    shown: list[tuple[object, ...]] = []
    lot, count = _queue(amqp_url, UNROUTED), 0
    try:
        for parcel in lot.parked():
            count += 1
            if send_on:
                lot.publish(EXCHANGE, parcel)  # refused where still no queue is bound
                lot.ack(parcel)
            elif count <= use_case.SHOWN:
                shown.append(
                    (parcel.routing_key, parcel.message_id, readable_size(len(parcel.body)))
                )
    finally:
        lot.close()
    if shown:
        print_table(("routing key", "message", "size"), shown)
    done = "sent on" if send_on else "there"
    typer.echo(f"{count} message{'' if count == 1 else 's'} {done}.")


def _lot(amqp_url: str, queue: WorkQueue) -> BrokerQueue:
    return _queue(amqp_url, queue.parking)


def _queue(amqp_url: str, name: str) -> BrokerQueue:
    parameters = pika.URLParameters(amqp_url)
    parameters.blocked_connection_timeout = 60
    return BrokerQueue(lambda: pika.BlockingConnection(parameters), name)
