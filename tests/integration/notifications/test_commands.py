"""`clinic documents` on a real broker and a real database."""

import json

import pytest
from clinic.cli import app
from support.parcels import DOCUMENT_ID
from support.processes import wait_until
from support.shared_db import Database
from support.vhost import VirtualHost, virtual_host
from typer.testing import CliRunner

ADDRESS = "https://drive.google.com/file/d/" + 60 * "a" + "/view"


@pytest.fixture
def arguments(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("USER", "ana")
    monkeypatch.setenv("LOGNAME", "ana")
    with virtual_host() as broker:
        monkeypatch.setenv("AMQP_URL", broker.url)
        monkeypatch.setenv("SHARED_DB_SYNC_URL", database.sync_url)
        for reason in ("schema", "store_refused"):
            broker.publish(
                "documents.dlx",
                "invoice.created",
                b"{}",
                message_id=f"parked for {reason}",
                headers={"x-park-reason": reason, "x-park-detail": "What happened."},
            )
        yield broker


def run(*command: str) -> str:
    done = CliRunner().invoke(app, ["documents", *command])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_what_is_parked_is_listed_and_stays(arguments: VirtualHost) -> None:
    said = run("parked", "invoice_queue")
    assert "parked for schema" in said
    assert "What happened." in said
    assert "2 of 2 parked messages: 1 schema, 1 store_refused" in said
    assert "1 of 2 parked" in run("parked", "invoice_queue", "--reason", "store_refused")


def test_a_replay_from_a_shell_is_kept_under_the_persons_name(
    arguments: VirtualHost, database: Database
) -> None:
    said = run("replay", "invoice_queue", "--reason", "store_refused", "--why", "renamed back")
    assert "1 message replayed" in said
    assert arguments.depth("invoice_queue") == 1
    (row,) = database.query("SELECT who, why, message_id FROM document_replays")
    assert row == {"who": "ana", "why": "renamed back", "message_id": "parked for store_refused"}


def test_a_documents_path_is_printed(arguments: VirtualHost, database: Database) -> None:
    database.query(
        "INSERT INTO document_events (document_id, revision, state, actor, detail)"
        " VALUES (%s, 1, 'stored', 'drain_invoices', %s)",
        DOCUMENT_ID,
        json.dumps({"url": ADDRESS, "size_bytes": 7}),
    )
    columns, line = run("timeline", DOCUMENT_ID).splitlines()
    assert columns == "at\trevision\twhat\tby\tdetail"
    *_, state, actor, detail = line.split("\t")
    assert (state, actor) == ("stored", "drain_invoices")
    assert set(detail.split(", ")) == {f"url: {ADDRESS}", "size_bytes: 7"}


def test_an_unknown_document_is_said_to_be_unknown(arguments: VirtualHost) -> None:
    done = CliRunner().invoke(app, ["documents", "timeline", DOCUMENT_ID])
    assert "Nothing is known of document" in str(done.exception)
    done = CliRunner().invoke(app, ["documents", "timeline", "no id"])
    assert "is no document's id" in str(done.exception)


def test_what_no_queue_was_bound_for_is_said_listed_and_sent_on(arguments: VirtualHost) -> None:
    arguments.publish("documents.dlx", "no.such.key", b"{}", message_id="lost")
    assert "1 more lie in documents.unrouted" in run("parked", "invoice_queue")
    assert "lost" in run("unrouted")
    done = CliRunner().invoke(app, ["documents", "unrouted", "--send-on"])
    assert done.exit_code, "it went nowhere once more"
    assert arguments.depth("documents.unrouted") == 1
    administrator = arguments.administrator()
    administrator.queue_bind("invoice_queue", "documents_exchange", "no.such.key")
    administrator.connection.close()
    assert "1 message sent on" in run("unrouted", "--send-on")
    assert arguments.depth("invoice_queue") == 1


def test_ten_thousand_parked_messages_are_listed(arguments: VirtualHost) -> None:
    connection = arguments.connect()
    channel = connection.channel()
    for _ in range(10_000):
        channel.basic_publish("documents.dlx", "invoice.created", b"{}")
    connection.close()
    wait_until(
        lambda: arguments.depth("invoice_queue.parking") == 10_002, "all parked", timeout_s=60
    )
    said = run("parked", "invoice_queue", "--limit", "20000")
    assert "10002 of 10002 parked messages" in said
    wait_until(lambda: arguments.depth("invoice_queue.parking") == 10_002, "all are back")
