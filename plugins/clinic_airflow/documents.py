"""The documents' use cases, wired to Airflow's connections."""

from __future__ import annotations

import logging
import os
import smtplib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import pika
from airflow.providers.smtp.hooks.smtp import SmtpHook
from airflow.sdk.exceptions import AirflowException
from clinic.clients.broker_queue import BrokerQueue
from clinic.clients.mail import SmtpMailer
from clinic.clients.notifications_db import NotificationsDb
from clinic.documents import replay as use_case
from clinic.documents.message import problems_of
from clinic.documents.notify import Notifier
from clinic.documents.replay import Selection, WorkQueue
from clinic.errors import PermanentError, TransientError
from rabbitmq_provider.errors import RabbitMQError
from rabbitmq_provider.hooks.rabbitmq import RabbitMQHook

from clinic_airflow import lookup
from clinic_airflow.hooks.odoo import OdooHook
from clinic_airflow.hooks.shared_db import SharedDbHook

if TYPE_CHECKING:
    from clinic.documents.store import DocumentStore

for _chatty in ("httpx", "pika"):  # a line a request, and ten a connection
    logging.getLogger(_chatty).setLevel(logging.WARNING)

log = logging.getLogger(__name__)

ODOO: Final = "odoo_documents"
BROKER: Final = "rabbitmq_default"
MAIL: Final = "smtp_default"
STORES_VARIABLE: Final = "clinic_document_stores"

BRAKE_S: Final = 60
IDLE_S: Final = 5
ASK_ABOVE: Final = 100


@contextmanager
def _brake() -> Iterator[None]:
    """Let a permanent error be raised after a pause.

    @continuous starts the next run as soon as this one has failed, and knows no pause itself.
    """
    try:
        yield
    except PermanentError as error:
        log.warning(
            "failing in %d s, so that runs do not fail one after another: %s", BRAKE_S, error
        )
        time.sleep(BRAKE_S)
        raise


# Drains


def drain_documents(queue: str, seconds: float) -> dict[str, Any]:
    """Store the documents of a queue for so many seconds, or until it is empty.

    Raises:
        TransientError: Broker or shared database stayed away.
        PermanentError: A person has to change something; raised ``BRAKE_S`` after it was logged.
    """
    # Not at the top: the other tasks need none of it.
    from clinic.clients.documents_db import DocumentsDb
    from clinic.documents.drain import Drain

    with _brake(), ExitStack() as stack:
        stores = _stores(stack, queue)
        ledger = stack.enter_context(closing(DocumentsDb(SharedDbHook().conninfo(), queue)))
        odoo = stack.enter_context(closing(OdooHook(ODOO).get_conn()))
        messages = stack.enter_context(closing(BrokerQueue(broker_connection, queue)))
        killed = stack.enter_context(closing(BrokerQueue(broker_connection, f"{queue}.killed")))
        # In one place, so that what a killed drain left there is found by the next.
        spool_dir = Path(os.environ.get("AIRFLOW_HOME", tempfile.gettempdir())) / "spool" / queue
        spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        drain = Drain(messages, killed, ledger, odoo, stores, spool_dir)
        return drain.run(seconds, IDLE_S).as_dict()


def _stores(stack: ExitStack, queue: str) -> dict[str, DocumentStore]:
    """Return the store of what comes in a queue, as the Variable says.

    No other: a connection that is wrong must not hold up the documents of another store.
    """
    from clinic.documents.settings import TYPE_OF_QUEUE, parse_settings

    document_type = TYPE_OF_QUEUE[queue]
    place = parse_settings(lookup.variable(STORES_VARIABLE))[document_type]
    return {document_type: stack.enter_context(closing(store_of(place.conn_id, place.folder)))}


def store_of(conn_id: str, folder: str) -> DocumentStore:
    """Return the store behind a connection; the connection's type says which kind it is.

    Raises:
        PermanentError: The connection is of another type.
    """
    conn_type = lookup.required(conn_id).conn_type
    if conn_type == "clinic_drive":  # imported only where it is used: Google's libraries are large
        from clinic_airflow.hooks.drive import DriveHook

        return cast("DocumentStore", DriveHook(conn_id).get_store(folder))
    if conn_type == "clinic_webdav":
        from clinic_airflow.hooks.webdav import WebDavHook

        return cast("DocumentStore", WebDavHook(conn_id).get_store(folder))
    raise PermanentError(
        f"Connection {conn_id!r} is of type {conn_type!r}, which stores no documents. Name one of "
        f"type clinic_drive or clinic_webdav in the Variable {STORES_VARIABLE}."
    )


# Notifications


def notify(seconds: float) -> dict[str, int]:
    """Tell Odoo and people what became of documents, until nothing more comes.

    Raises:
        TransientError: Broker or shared database stayed away.
        PermanentError: A person has to change something; raised ``BRAKE_S`` after it was logged.
    """
    with (
        _brake(),
        closing(OdooHook(ODOO).get_conn()) as odoo,
        closing(mailer()) as mails,
        closing(NotificationsDb(SharedDbHook().conninfo())) as ledger,
        closing(BrokerQueue(broker_connection, WorkQueue.NOTIFICATIONS.value)) as queue,
        closing(BrokerQueue(broker_connection, WorkQueue.NOTIFICATIONS.killed)) as killed,
    ):
        return (
            Notifier(odoo, mails, ledger, queue, killed, partial(problems_of, "notification"))
            .run(seconds, IDLE_S)
            .as_dict()
        )


def mailer() -> SmtpMailer:
    """Return the mailer of the connection ``smtp_default``.

    Raises:
        PermanentError: The connection names no sender.
    """
    sender = lookup.required(MAIL).extra_dejson.get("from_email")
    if not sender:
        raise PermanentError(
            f"Connection {MAIL!r} has no from_email in its extra fields: set it to the address "
            "that mails come from."
        )

    def connect() -> smtplib.SMTP:
        hook = SmtpHook(MAIL)
        try:
            # The hook's own sending makes a new Message-ID each time and does not say which reply
            # a failure was, so that only its way of logging in is used.
            return cast(smtplib.SMTP, hook.get_conn()._smtp_client)
        except AirflowException as error:
            raise ConnectionError(str(error)) from error

    return SmtpMailer(connect, sender)


# Parked messages


def plan_replay(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many parked messages the form means, and the text that an approver reads."""
    queue, selection = WorkQueue(params["queue"]), selection_of(params)
    planned_at = datetime.now(UTC).isoformat()
    with closing(BrokerQueue(broker_connection, queue.parking)) as lot:
        found = use_case.plan(lot, selection).as_dict()
    reasons = "\n".join(f"* {count} for {name}" for name, count in found["by_reason"].items())
    text = f"{found['count']} messages of `{queue}`:\n{reasons}\n\nWhy: {params['why']}"
    return found | {"planned_at": planned_at, "text": text}


def next_step(plan: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """Return the task that follows a plan: none, the replay, or first somebody's approval."""
    if params["dry_run"] or not plan["count"]:
        return []
    return ["approve"] if plan["count"] > ASK_ABOVE else ["replay"]


def replay_parked(
    params: Mapping[str, Any], plan: Mapping[str, Any], dag_run: Any, answer: Any
) -> int:
    """Replay what was planned, and return how many it were.

    Args:
        params: The form.
        plan: What :func:`plan_replay` returned: nothing parked later is replayed, and not more.
        dag_run: The run, which knows who started it.
        answer: What the approval returned; None where none was needed.

    Raises:
        PermanentError: Nobody knows who started the run.
    """
    person = dag_run.triggering_user_name or ""
    approver = ((answer or {}).get("responded_by_user") or {}).get("name")
    if person and approver:
        person = f"{person}, approved by {approver}"
    queue = WorkQueue(params["queue"])
    chosen = selection_of(params, limit=plan["count"], planned_at=plan["planned_at"])
    with (
        closing(BrokerQueue(broker_connection, queue.parking)) as lot,
        closing(NotificationsDb(SharedDbHook().conninfo())) as ledger,
    ):
        return use_case.replay(lot, ledger, queue, chosen, person=person, reason=params["why"])


def selection_of(
    params: Mapping[str, Any], limit: int | None = None, planned_at: str | None = None
) -> Selection:
    """Return what the form means."""
    return Selection(
        document_type=params["document_type"],
        reason=params["reason"],
        parked_from=_instant(params["parked_from"]),
        parked_to=_instant(params["parked_to"]),
        limit=limit or params["limit"],
        planned_at=_instant(planned_at),
    )


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


# The broker


def broker_connection() -> pika.BlockingConnection:
    """Open a connection to RabbitMQ.

    Raises:
        TransientError: It is not there.
        PermanentError: The Airflow connection is wrong.
    """
    return _translated(RabbitMQHook(BROKER).get_conn)


def _translated[T](call: Callable[[], T]) -> T:
    try:
        return call()
    except RabbitMQError as error:
        kind = TransientError if error.transient else PermanentError
        raise kind(str(error)) from error
