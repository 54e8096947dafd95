"""The wiring of the documents' tasks: which step follows a plan, who replays, what a store is."""

import json
import logging
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import clinic_airflow.documents as wiring
import pytest
from airflow.providers.smtp.hooks.smtp import SmtpHook
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowException
from clinic.clients.broker_queue import BrokerQueue
from clinic.clients.notifications_db import NotificationsDb
from clinic.clients.odoo import OdooClient
from clinic.documents.mail import Mail
from clinic.documents.notify import Notifier, Summary
from clinic.documents.parcel import Parcel
from clinic.documents.store import DocumentStore
from clinic.errors import PermanentError, TransientError
from rabbitmq_provider.errors import BrokerUnavailableError, LoginRefusedError

FORM = {
    "queue": "invoice_queue",
    "document_type": None,
    "reason": None,
    "parked_from": None,
    "parked_to": "2026-11-25T00:00:00+00:00",
    "limit": 500,
    "dry_run": False,
    "why": "the folder was renamed back",
}
A_RUN = SimpleNamespace(triggering_user_name="ana")


class Clients:
    """What the hooks would connect to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queue = create_autospec(BrokerQueue, instance=True)
        self.ledger = create_autospec(NotificationsDb, instance=True)
        self.odoo = create_autospec(OdooClient, instance=True)
        self.queues: list[str] = []
        self.connections = {
            "smtp_default": Connection(
                conn_id="smtp_default",
                conn_type="smtp",
                host="127.0.0.1",
                extra=json.dumps({"from_email": "clinica@clinica.example"}),
            ),
            "a_drive": Connection(conn_id="a_drive", conn_type="clinic_drive"),
            "a_database": Connection(conn_id="a_database", conn_type="postgres"),
        }
        monkeypatch.setattr(BaseHook, "get_connection", self.connections.__getitem__)
        monkeypatch.setattr(wiring, "BrokerQueue", self.broker_queue)
        monkeypatch.setattr(wiring, "NotificationsDb", lambda _: self.ledger)
        monkeypatch.setattr(wiring.SharedDbHook, "conninfo", lambda _: "")
        monkeypatch.setattr(wiring.OdooHook, "get_conn", lambda _: self.odoo)

    def broker_queue(self, _: Any, name: str) -> BrokerQueue:
        self.queues.append(name)
        return self.queue

    def park(self, count: int) -> None:
        self.queue.parked.side_effect = lambda: iter(
            Parcel(
                tag,
                "invoice.created",
                b'{"document_type": "invoice"}',
                f"m{tag}",
                headers={
                    "x-park-reason": "store_refused",
                    "x-parked-at": "2026-11-24T10:00:00+00:00",
                },
            )
            for tag in range(count)
        )


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Clients:
    return Clients(monkeypatch)


def test_a_plan_says_what_an_approver_has_to_know(clients: Clients) -> None:
    clients.park(3)
    plan = wiring.plan_replay(FORM)
    assert plan["count"] == 3
    assert "3 messages of `invoice_queue`" in plan["text"]
    assert "* 3 for store_refused" in plan["text"]
    assert "the folder was renamed back" in plan["text"]
    assert json.loads(json.dumps(plan)) == plan
    assert clients.queues == ["invoice_queue.parking"]
    clients.queue.ack.assert_not_called()
    clients.queue.close.assert_called_once_with()


@pytest.mark.parametrize(
    ("count", "dry_run", "steps"),
    [
        (0, False, []),
        (1, True, []),
        (1, False, ["replay"]),
        (100, False, ["replay"]),
        (101, False, ["approve"]),
        (101, True, []),
    ],
)
def test_more_than_a_hundred_need_approval(count: int, dry_run: bool, steps: list[str]) -> None:
    assert wiring.next_step({"count": count}, FORM | {"dry_run": dry_run}) == steps


def replay(plan: dict[str, Any], answer: Any = None, run: Any = A_RUN) -> int:
    return wiring.replay_parked(FORM, plan, run, answer)


def test_a_replay_is_by_who_started_the_run_and_not_larger_than_its_plan(clients: Clients) -> None:
    clients.park(9)
    assert replay({"count": 4, "planned_at": "2026-11-24T11:00:00+00:00"}) == 4
    assert clients.queue.ack.call_count == 4
    assert clients.ledger.record_replay.call_args.kwargs["person"] == "ana"
    assert clients.ledger.record_replay.call_args.kwargs["reason"] == FORM["why"]
    clients.ledger.close.assert_called_once_with()


def test_what_was_parked_after_the_plan_is_left(clients: Clients) -> None:
    clients.park(9)
    assert replay({"count": 4, "planned_at": "2026-11-24T09:00:00+00:00"}) == 0


def test_the_approver_is_named_too(clients: Clients) -> None:
    clients.park(1)
    answer = {"responded_by_user": {"id": "7", "name": "ben"}}
    replay({"count": 1, "planned_at": "2026-11-24T11:00:00+00:00"}, answer)
    assert clients.ledger.record_replay.call_args.kwargs["person"] == "ana, approved by ben"


def test_a_run_that_nobody_started_replays_nothing(clients: Clients) -> None:
    clients.park(1)
    with pytest.raises(PermanentError, match="person"):
        replay(
            {"count": 1, "planned_at": "2026-11-24T11:00:00+00:00"},
            run=SimpleNamespace(triggering_user_name=None),
        )
    clients.queue.ack.assert_not_called()


def test_a_connection_of_another_kind_is_no_store(clients: Clients) -> None:
    with pytest.raises(PermanentError, match=r"'a_database' is of type 'postgres'.*clinic_webdav"):
        wiring.store_of("a_database", "folder")


def test_notifications_use_their_queue_and_everything_is_closed(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Notifier, "run", lambda *_: Summary(applied=3))
    assert wiring.notify(1)["applied"] == 3
    assert clients.queues == ["notification_queue", "notification_queue.killed"]
    assert clients.queue.close.call_count == 2
    for client in (clients.ledger, clients.odoo):
        client.close.assert_called_once_with()


def test_without_a_sender_the_task_says_so_and_waits(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(wiring.time, "sleep", waited.append)
    clients.connections["smtp_default"] = Connection(conn_id="smtp_default", conn_type="smtp")
    with caplog.at_level(logging.WARNING), pytest.raises(PermanentError, match="from_email"):
        wiring.notify(1)
    assert waited == [60]
    assert "from_email" in caplog.text


def test_what_the_smtp_hook_says_is_worth_another_try(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: SmtpHook) -> SmtpHook:
        raise AirflowException("Unable to connect to smtp server")

    monkeypatch.setattr(SmtpHook, "get_conn", fails)
    mail = Mail("n1", "ana@clinica.example", "Ana", "es_ES", "Hola", "Texto")
    with pytest.raises(TransientError, match="Unable to connect"):
        wiring.mailer().send(mail)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(BrokerUnavailableError, TransientError), (LoginRefusedError, PermanentError)],
)
def test_the_brokers_errors_become_ours(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], kind: type[Exception]
) -> None:
    def fails(_: Any) -> Any:
        raise error("what it said")

    monkeypatch.setattr(wiring.RabbitMQHook, "get_conn", fails)
    with pytest.raises(kind, match="what it said"):
        wiring.broker_connection()


def test_a_wrong_connection_holds_up_no_documents_of_another_store(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"medical_record": {"conn_id": "a_database", "folder": "Clinica/Documentos"}}
    monkeypatch.setattr(wiring.lookup, "variable", lambda _: json.dumps(settings))
    opened = create_autospec(DocumentStore, instance=True)
    store_of = wiring.store_of
    monkeypatch.setattr(
        wiring,
        "store_of",
        lambda conn_id, folder: (
            opened if conn_id == "google_cloud_drive" else store_of(conn_id, folder)
        ),
    )
    with ExitStack() as stack:
        assert wiring._stores(stack, "invoice_queue") == {"invoice": opened}
        with pytest.raises(PermanentError, match="which stores no documents"):
            wiring._stores(stack, "medical_records_queue")
