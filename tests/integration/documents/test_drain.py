"""The drain on a real broker and a real database."""

import json
import threading
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from clinic.clients.broker_queue import BrokerQueue
from clinic.clients.documents_db import DocumentsDb
from clinic.clients.notifications_db import NotificationsDb
from clinic.documents.message import problems_of
from clinic.documents.reasons import WaitReason
from clinic.documents.replay import Selection, WorkQueue, replay
from clinic.errors import AwayError, PermanentError, TransientError
from support.draining import QUEUE, FolderStore, message, parcel_of, pdf
from support.processes import wait_until
from support.stack_env import needed

from .conftest import Rig

pytestmark = pytest.mark.stack


def offered(rig: Rig, words: str = "one", **metadata: Any) -> dict[str, Any]:
    content = pdf(words)
    body = message(content, **metadata)
    rig.odoo.offer(body, content)
    return body


def states(rig: Rig) -> list[str]:
    return [row["state"] for row in rig.database.query("SELECT state FROM documents")]


def test_a_document_is_stored_told_and_acknowledged(rig: Rig) -> None:
    body = offered(rig)
    rig.publish(body)
    assert rig.drain() == {
        "stored": 1, "found_in_store": 0, "duplicates": 0, "retried": 0, "parked": 0, "told": 1,
    }  # fmt: skip
    (row,) = rig.database.query("SELECT * FROM documents")
    assert row["state"] == "stored"
    assert (rig.store.folder / row["file_id"]).read_bytes() == pdf("one")
    ((properties, told),) = rig.take("notification_queue")
    notification = json.loads(told)
    assert problems_of("notification", notification) == ""
    assert notification["metadata"]["url"] == row["url"]
    assert properties.message_id == notification["metadata"]["notification_id"]
    assert rig.broker.depth(QUEUE) == 0


def test_a_document_that_comes_again_is_stored_and_told_under_one_id(rig: Rig) -> None:
    body = offered(rig)
    rig.publish(body, body)
    first = rig.drain()
    rig.publish(body)
    second = rig.drain()
    assert (first["stored"], first["duplicates"]) == (1, 1)
    assert (second["stored"], second["duplicates"]) == (0, 1)
    assert len(list(rig.store.folder.iterdir())) == 1
    assert len({properties.message_id for properties, _ in rig.take("notification_queue")}) == 1


def test_the_timeline_is_the_whole_path(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    body = offered(rig)
    content, properties = parcel_of(body)
    properties["headers"] |= {
        "x-made-at": "2026-11-24T10:00:00+00:00",
        "x-made-by": "Ana García",
        "x-rendered-at": "2026-11-24T10:00:02+00:00",
        "cloudEvents:time": "2026-11-24T10:00:03+00:00",
        "x-sent-again-at": "no instant",
    }
    rig.broker.publish("documents_exchange", "invoice.created", content, content, **properties)
    monkeypatch.setattr(rig.store, "put", lambda _: (_ for _ in ()).throw(PermanentError("No.")))
    assert rig.drain()["parked"] == 1
    monkeypatch.undo()
    with (
        closing(NotificationsDb(rig.database.sync_url)) as notifications,
        closing(BrokerQueue(rig.broker.connect, f"{QUEUE}.parking")) as lot,
    ):
        queue = WorkQueue.INVOICES
        replay(lot, notifications, queue, Selection(), person="eva", reason="renamed back")
        rig.drain()
        path = notifications.timeline(body["document_id"])
    assert [(row["state"], row["actor"]) for row in path] == [
        ("made", "Odoo: Ana García"),
        ("rendered", "Odoo"),
        ("published", "Odoo"),
        ("storing", f"drain {QUEUE}"),
        ("parked", f"drain {QUEUE}"),
        ("told", "outbox"),
        ("replayed", "eva"),
        ("storing", f"drain {QUEUE}"),
        ("stored", f"drain {QUEUE}"),
        ("told", "outbox"),
    ]
    assert path[6]["detail"] == {"why": "renamed back"}
    assert {row["revision"] for row in path} == {1}


def test_a_message_that_says_something_else_of_a_document_is_judged_by_itself(rig: Rig) -> None:
    body = offered(rig)
    wrong = body | {"metadata": body["metadata"] | {"sha256": "0" * 64}}
    rig.publish(wrong, body)
    summary = rig.drain()
    assert (summary["parked"], summary["stored"]) == (1, 1)
    assert states(rig) == ["stored"]


GARBAGE: dict[str, tuple[Any, str]] = {
    "not JSON": (b"Factura 17", "not_json"),
    "a number": (b"17", "schema"),
    "a list too deep": (b"[" * 100_000, "not_json"),
    "objects 3,000 deep": (b'{"a":' * 3_000 + b"1" + b"}" * 3_000, "schema"),
    "half a character": ({"document_id": "\ud800"}, "schema"),
    "a patient beyond any": ({"patient_id": 2**31}, "schema"),
    "5 MB": (b" " * 5_000_000, "too_large"),
    "a missing key": ({"patient_id": ...}, "schema"),
    "one key more": ({"urgent": True}, "schema"),
    "a wrong type": ({"patient_id": "seventeen"}, "schema"),
    "another folder": ({"file_path": "/clinic/documents/../../web/login"}, "bad_path"),
    "an encoded folder": ({"file_path": "/clinic/documents/%2e%2e/x"}, "bad_path"),
    "another host": ({"file_path": "https://evil.example/x.pdf"}, "foreign_host"),
    "a host without a scheme": ({"file_path": "//evil.example/x.pdf"}, "foreign_host"),
    "another document's path": (
        {"file_path": f"/clinic/documents/{uuid.UUID(int=7)}/1/content"},
        "bad_path",
    ),
    "an unknown type": ({"document_type": "x_ray"}, "unknown_type"),
    "a type of another queue": ({"document_type": "medical_record"}, "unknown_type"),
}


def bytes_of(bad: Any) -> bytes:
    if isinstance(bad, bytes):
        return bad
    wrong = message(pdf("one")) | bad
    return json.dumps({name: value for name, value in wrong.items() if value is not ...}).encode()


def test_a_document_whose_store_this_drain_does_not_know_is_parked(rig: Rig) -> None:
    rig.publish(offered(rig))
    assert rig.drain(document_type="medical_record")["parked"] == 1
    ((parked, _),) = rig.take(f"{QUEUE}.parking")
    assert parked.headers["x-park-reason"] == "unknown_type"


def test_garbage_is_parked_with_its_reason_and_the_queue_goes_on(rig: Rig) -> None:
    garbage = {bytes_of(bad): reason for bad, reason in GARBAGE.values()}
    assert len(garbage) == len(GARBAGE)
    rig.publish(offered(rig, "before"))
    rig.broker.publish("documents_exchange", "invoice.created", *garbage)
    rig.publish(offered(rig, "after"))
    summary = rig.drain()
    assert (summary["parked"], summary["stored"]) == (len(garbage), 2)
    parked = rig.take(f"{QUEUE}.parking")
    assert {body: properties.headers["x-park-reason"] for properties, body in parked} == garbage
    assert all(len(properties.headers["x-park-detail"]) > 20 for properties, _ in parked)


@pytest.mark.parametrize(
    ("content", "metadata", "reason"),
    [
        pytest.param(b"<!DOCTYPE html><title>500</title>", {}, "wrong_type", id="HTML"),
        pytest.param(pdf("one")[:300], {}, "broken_pdf", id="half a PDF"),
        pytest.param(pdf("one"), {"size_bytes": 17}, "wrong_size", id="another size"),
        pytest.param(pdf("one"), {"sha256": "0" * 64}, "wrong_hash", id="another hash"),
        pytest.param(None, {}, "gone_in_odoo", id="deleted"),
    ],
)
def test_a_file_that_is_not_the_document_is_parked_and_told(
    rig: Rig, content: bytes | None, metadata: dict[str, Any], reason: str
) -> None:
    body = message(content or b"gone", **metadata)
    if content is not None:
        rig.odoo.offer(body, content)
    rig.publish(body)
    assert rig.drain()["parked"] == 1
    assert states(rig) == ["parked"]
    ((properties, _),) = rig.take(f"{QUEUE}.parking")
    assert properties.headers["x-park-reason"] == reason
    ((_, told),) = rig.take("notification_queue")
    assert json.loads(told)["metadata"]["reason"] == reason
    assert problems_of("notification", json.loads(told)) == ""


def test_a_store_that_is_down_puts_a_document_off(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(upload: object) -> None:
        raise TransientError("The store is full. Make room.")

    monkeypatch.setattr(rig.store, "put", full)
    body = offered(rig)
    rig.publish(body)
    assert rig.drain()["retried"] == 1
    assert states(rig) == ["retrying"]
    assert rig.broker.depth(QUEUE) == 0
    ((_, told),) = rig.take("notification_queue")
    notification = json.loads(told)["metadata"]
    assert (notification["event"], notification["attempt"]) == ("retrying", 1)
    # It comes back by itself from the first tier, as the second attempt.
    monkeypatch.undo()
    wait_until(lambda: rig.broker.depth(QUEUE) == 1, "it is back", timeout_s=60)
    summary = rig.drain()
    assert summary["stored"] == 1
    assert states(rig) == ["stored"]


def test_a_store_that_is_down_is_not_asked_for_each_document(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def down(upload: object) -> None:
        nonlocal asked
        asked += 1
        raise AwayError(WaitReason.STORE_AWAY, "The store does not answer.")

    monkeypatch.setattr(rig.store, "put", down)
    rig.publish(*(offered(rig, str(number)) for number in range(20)))
    assert rig.drain()["retried"] == 20
    assert 2 <= asked <= 8  # those under way when it was found out
    rows = rig.database.query("SELECT DISTINCT state, last_reason FROM documents")
    assert rows == [{"state": "retrying", "last_reason": "store_away"}]
    monkeypatch.undo()
    rig.publish(offered(rig, "later"))
    assert rig.drain()["stored"] > 0  # the next run asks it


def test_one_document_that_a_store_cannot_take_holds_up_no_neighbour(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = rig.store.put
    huge, *others = [offered(rig, str(number)) for number in range(12)]

    def no_space_for_one(upload: Any) -> Any:
        if upload.document_id == huge["document_id"]:
            raise AwayError(WaitReason.STORE_FULL, "No space for so large a file.")
        return put(upload)

    monkeypatch.setattr(rig.store, "put", no_space_for_one)
    rig.publish(huge, *others)
    summary = rig.drain(workers=1)
    assert (summary["stored"], summary["retried"]) == (11, 1)


def test_a_full_disk_puts_a_document_off_and_says_so(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def onto_a_full_disk(path: str, sink: Path, max_bytes: int) -> None:
        sink.symlink_to("/dev/full")
        with sink.open("wb") as file:
            file.write(b"%PDF-")

    monkeypatch.setattr(rig.odoo, "download", onto_a_full_disk)
    rig.publish(offered(rig))
    assert rig.drain()["retried"] == 1
    ((_, told),) = rig.take("notification_queue")
    notification = json.loads(told)["metadata"]
    assert notification["event"] == "retrying"
    assert "No space left on device. Make room" in notification["detail"]


def test_a_store_that_asks_for_time_gets_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(upload: object) -> None:
        raise TransientError("The store wants to be left alone.", retry_after_s=300)

    monkeypatch.setattr(rig.store, "put", busy)
    rig.publish(offered(rig))
    assert rig.drain()["retried"] == 1
    assert rig.broker.depth("documents.retry.3") == 1


def test_no_file_stays_on_the_way_whatever_becomes_of_it(rig: Rig, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "left by a killed drain").write_bytes(b"%PDF-")
    good, broken = offered(rig, "good"), message(b"no PDF")
    rig.odoo.offer(broken, b"no PDF")
    rig.publish(good, broken)
    summary = rig.drain(spool_dir=spool)
    assert (summary["stored"], summary["parked"]) == (1, 1)
    assert list(spool.iterdir()) == []


def test_a_day_of_attempts_is_enough(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(upload: object) -> None:
        raise TransientError("The store is full. Make room.")

    monkeypatch.setattr(rig.store, "put", full)
    body = offered(rig)
    rig.broker.publish(
        "documents_exchange",
        "invoice.created",
        json.dumps(body).encode(),
        headers={"x-attempt": 28},
    )
    assert rig.drain()["parked"] == 1
    ((properties, _),) = rig.take(f"{QUEUE}.parking")
    assert properties.headers["x-park-reason"] == "gave_up"


def test_what_a_store_refuses_is_parked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(upload: object) -> None:
        raise PermanentError("Another file lies there.")

    monkeypatch.setattr(rig.store, "put", refuse)
    rig.publish(offered(rig))
    assert rig.drain()["parked"] == 1
    ((properties, _),) = rig.take(f"{QUEUE}.parking")
    assert properties.headers["x-park-reason"] == "store_refused"


def test_nothing_is_acknowledged_while_the_database_is_away(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = rig.store.put

    def lose_the_database(upload: Any) -> Any:
        stored = put(upload)
        with psycopg.connect(needed("POSTGRES_ADMIN_URL")) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (rig.database.name,),
            )
        return stored

    monkeypatch.setattr(rig.store, "put", lose_the_database)
    rig.publish(offered(rig))
    with pytest.raises(TransientError, match="Shared database"):
        rig.drain()
    monkeypatch.undo()
    assert rig.broker.depth(QUEUE) == 1
    assert rig.drain()["found_in_store"] == 1
    assert len(list(rig.store.folder.iterdir())) == 1


def test_a_queue_has_one_drain_at_a_time(rig: Rig) -> None:
    first = DocumentsDb(rig.database.sync_url, QUEUE)
    first.open_drain()
    rig.publish(offered(rig))
    with pytest.raises(TransientError, match="another process drains"):
        rig.drain()
    first.close()
    locks = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    wait_until(lambda: rig.database.value(locks) == 0, "the lock is let go")
    assert rig.drain()["stored"] == 1


def test_analysts_see_no_documents(rig: Rig) -> None:
    with (
        psycopg.connect(rig.database.readonly_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT * FROM documents")


def test_looking_at_what_is_parked_never_loses_it(rig: Rig) -> None:
    rig.broker.publish("documents.dlx", "invoice.created", b"garbage")
    for _ in range(25):  # RabbitMQ 4 drops a message after 20 returns, where nobody says otherwise
        lot = BrokerQueue(rig.broker.connect, f"{QUEUE}.parking")
        assert [parcel.body for parcel in lot.parked()] == [b"garbage"]
        lot.close()
        deadline = time.monotonic() + 20
        while not rig.broker.depth(f"{QUEUE}.parking"):
            assert time.monotonic() < deadline, "the message did not return"
    assert len(rig.take(f"{QUEUE}.parking")) == 1


def kill_workers_with(rig: Rig, *bodies: bytes) -> None:
    """Deliver messages until the broker takes them out, as when each ends its worker."""
    rig.broker.publish("documents_exchange", "invoice.created", *bodies)
    connection = rig.broker.connect()
    while rig.broker.depth(f"{QUEUE}.killed") < len(bodies):
        channel = connection.channel()
        taken = []
        while len(taken) < len(bodies):
            method, _, _ = channel.basic_get(QUEUE)
            if method is None:
                break
            taken.append(method)
        for method in taken:
            channel.basic_reject(method.delivery_tag, requeue=True)
        channel.close()
    connection.close()


def test_what_a_killer_was_held_with_is_not_taken_out_with_it(rig: Rig) -> None:
    neighbours = [str(number).encode() for number in range(14)]
    lot = [*neighbours[:2], b"killer", *neighbours[2:]]
    rig.broker.publish("documents_exchange", "invoice.created", *lot)
    done, ends = [], 0
    while not rig.broker.depth(f"{QUEUE}.killed"):
        with closing(BrokerQueue(rig.broker.connect, QUEUE)) as queue:
            while parcels := queue.batch(12, 0.5):
                if any(parcel.body == b"killer" for parcel in parcels):
                    ends += 1
                    break  # this worker is gone, before it is done with any of them
                for parcel in parcels:
                    queue.ack(parcel)
                done += [parcel.body for parcel in parcels]
        assert ends < 30
    with closing(BrokerQueue(rig.broker.connect, QUEUE)) as queue:
        while parcels := queue.batch(12, 0.5):
            done += [parcel.body for parcel in parcels]
            for parcel in parcels:
                queue.ack(parcel)
    assert sorted(done) == sorted(neighbours)
    assert [body for _, body in rig.take(f"{QUEUE}.killed")] == [b"killer"]
    assert ends > 20


def test_a_message_that_ends_its_worker_each_time_is_parked_and_told(rig: Rig) -> None:
    body = offered(rig)
    kill_workers_with(rig, json.dumps(body).encode(), b"garbage")
    assert rig.drain()["parked"] == 2
    parked = {
        body: properties.headers["x-park-reason"]
        for properties, body in rig.take(f"{QUEUE}.parking")
    }
    assert parked == {json.dumps(body).encode(): "killed_the_worker", b"garbage": "not_json"}
    ((_, told),) = rig.take("notification_queue")
    notification = json.loads(told)
    assert problems_of("notification", notification) == ""
    assert notification["document_id"] == body["document_id"]
    assert notification["metadata"]["reason"] == "killed_the_worker"
    assert rig.broker.depth(f"{QUEUE}.killed") == 0
    assert rig.drain() == dict.fromkeys(rig.drain(), 0)


def test_a_duplicate_that_ends_its_worker_harms_no_stored_document(rig: Rig) -> None:
    body = offered(rig)
    rig.publish(body)
    assert rig.drain()["stored"] == 1
    kill_workers_with(rig, json.dumps(body).encode())
    assert rig.drain()["duplicates"] == 1
    assert states(rig) == ["stored"]
    assert rig.broker.depth(f"{QUEUE}.parking") == 0


def test_other_content_for_a_stored_revision_is_parked_for_a_person(rig: Rig) -> None:
    body = offered(rig)
    rig.publish(body)
    assert rig.drain()["stored"] == 1
    rig.take("notification_queue")
    content = pdf("another")
    rig.publish(message(content, body["document_id"]))
    assert rig.drain()["parked"] == 1
    ((properties, _),) = rig.take(f"{QUEUE}.parking")
    assert properties.headers["x-park-reason"] == "other_content"
    ((_, told),) = rig.take("notification_queue")
    assert json.loads(told)["metadata"]["reason"] == "other_content"
    (row,) = rig.database.query("SELECT state, sha256 FROM documents")
    assert row == {"state": "stored", "sha256": body["metadata"]["sha256"]}


@pytest.mark.parametrize("hangs", ["download", "put"])
def test_what_never_ends_comes_again_and_its_neighbours_are_stored(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    slow, *others = [offered(rig, str(number)) for number in range(4)]
    never = threading.Event()
    owner = rig.odoo if hangs == "download" else rig.store
    call = getattr(owner, hangs)

    def drip(what: Any, *args: Any) -> Any:
        if slow["document_id"] in str(getattr(what, "document_id", what)):
            never.wait(120)
        return call(what, *args)

    monkeypatch.setattr(owner, hangs, drip)
    rig.publish(slow, *others)
    summary = rig.drain(workers=1, document_s=1)
    assert (summary["stored"], summary["retried"]) == (3, 1)
    assert not never.is_set()  # nobody waited for it
    never.set()
    assert rig.broker.depth("documents.retry.1") == 1
    (told,) = rig.database.query("SELECT payload FROM outbox WHERE kind = 'retrying'")
    assert "was given up after" in told["payload"]["metadata"]["detail"]


def test_what_never_ends_is_parked_after_some_attempts(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    monkeypatch.setattr(rig.store, "put", lambda _: never.wait(120))
    rig.broker.publish(
        "documents_exchange",
        "invoice.created",
        json.dumps(offered(rig)).encode(),
        headers={"x-attempt": 5},
    )
    assert rig.drain(document_s=0.5)["parked"] == 1
    never.set()
    ((properties, _),) = rig.take(f"{QUEUE}.parking")
    assert properties.headers["x-park-reason"] == "too_costly"


def test_what_a_run_has_no_time_for_is_the_next_runs(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = rig.store.put

    def slowly(upload: Any) -> Any:
        time.sleep(0.5)
        return put(upload)

    monkeypatch.setattr(rig.store, "put", slowly)
    rig.publish(*(offered(rig, str(number)) for number in range(12)))
    first = rig.drain(workers=1, max_s=0.7)
    assert 1 <= first["stored"] < 12
    monkeypatch.undo()
    assert rig.broker.depth(QUEUE) == 12 - first["stored"]
    assert rig.drain()["stored"] == 12 - first["stored"]


def test_an_id_reserved_in_another_store_is_not_used(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def away(upload: Any) -> None:
        raise TransientError("The store is away.")

    monkeypatch.setattr(rig.store, "put", away)
    rig.publish(offered(rig))
    assert rig.drain()["retried"] == 1
    monkeypatch.undo()
    (before,) = rig.database.query("SELECT reserved_id, reserved_in FROM documents")
    assert before["reserved_in"] == rig.store.place
    rig.store = FolderStore(tmp_path / "another")
    wait_until(lambda: rig.broker.depth(QUEUE) == 1, "it is back", timeout_s=60)
    assert rig.drain()["stored"] == 1
    (after,) = rig.database.query("SELECT file_id, reserved_in FROM documents")
    assert after["reserved_in"] == rig.store.place
    assert after["file_id"] != before["reserved_id"]


def test_what_is_written_down_is_told_though_the_broker_did_not_take_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise TransientError("The broker is away.")

    monkeypatch.setattr(BrokerQueue, "publish_all", away)
    rig.publish(offered(rig))
    with pytest.raises(TransientError, match="broker is away"):
        rig.drain()
    monkeypatch.undo()
    assert rig.drain()["told"]
    assert len({properties.message_id for properties, _ in rig.take("notification_queue")}) == 1


def test_what_no_queue_was_bound_for_is_said_aloud(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.broker.publish("documents.dlx", "no.such.key", b"{}")
    rig.drain()
    assert "1 messages lie in documents.unrouted" in caplog.text
