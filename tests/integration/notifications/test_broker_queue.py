"""One queue on a real broker: batches, copies, and parked messages that keep their places."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pika
import pytest
from clinic.clients.broker_queue import BrokerQueue
from clinic.documents.parcel import Parcel
from clinic.documents.replay import Parked, Selection, WorkQueue, plan, replay
from clinic.errors import PermanentError, TransientError
from support.processes import wait_until
from support.vhost import VirtualHost, virtual_host

PARKING = WorkQueue.INVOICES.parking


@pytest.fixture
def broker() -> Iterator[VirtualHost]:
    with virtual_host() as broker:
        yield broker


class Rows(list[str | None]):
    """Keeps the message ids of replays."""

    def record_replay(
        self, *, queue: str, message_id: str | None, parked: Parked, person: str, reason: str
    ) -> None:
        self.append(message_id)


def park(broker: VirtualHost, *reasons: str) -> None:
    for number, reason in enumerate(reasons):
        broker.publish(
            "documents.dlx",
            "invoice.created",
            json.dumps({"number": number}).encode(),
            message_id=f"m{number}",
            headers={"x-park-reason": reason, "x-attempt": 3},
        )


def ids_in(broker: VirtualHost, queue: str) -> list[str | None]:
    reader = BrokerQueue(broker.connect, queue)
    try:
        return [parcel.message_id for parcel in reader.parked()]
    finally:
        reader.close()
        wait_for_return(broker, queue)


def wait_for_return(broker: VirtualHost, queue: str) -> None:
    """A closed reader's messages are back as soon as the broker has noticed."""
    connection = broker.connect()
    channel = connection.channel()
    wait_until(
        lambda: channel.queue_declare(queue, passive=True).method.consumer_count == 0, "closed"
    )
    connection.close()


def test_a_batch_is_what_waits_and_not_more_than_asked_for(broker: VirtualHost) -> None:
    broker.publish("documents_exchange", "notification.send", *(b"%d" % n for n in range(7)))
    queue = BrokerQueue(broker.connect, "notification_queue")
    first = queue.batch(5, 5)
    assert [parcel.body for parcel in first] == [b"0", b"1", b"2", b"3", b"4"]
    for parcel in first:
        queue.ack(parcel)
    assert [parcel.body for parcel in queue.batch(5, 5)] == [b"5", b"6"]
    queue.close()
    again = BrokerQueue(broker.connect, "notification_queue")
    assert [parcel.body for parcel in again.batch(5, 5)] == [b"5", b"6"]  # were not acknowledged
    again.close()


def test_an_empty_queue_gives_nothing_in_time(broker: VirtualHost) -> None:
    queue = BrokerQueue(broker.connect, "notification_queue")
    assert queue.batch(5, 0.1) == []
    queue.close()


def test_a_copy_waits_in_its_retry_tier(broker: VirtualHost) -> None:
    broker.publish("documents_exchange", "notification.send", b"{}")
    queue = BrokerQueue(broker.connect, "notification_queue")
    (parcel,) = queue.batch(5, 5)
    queue.publish("documents.retry.4", replace(parcel, headers=parcel.copy_headers(attempt=2)))
    queue.ack(parcel)
    queue.close()
    assert broker.depth("documents.retry.4") == 1
    assert broker.depth("notification_queue") == 0


def test_what_no_queue_takes_is_an_error(broker: VirtualHost) -> None:
    queue = BrokerQueue(broker.connect, "notification_queue")
    with pytest.raises(PermanentError, match=r"definitions\.json"):
        queue.publish("no.such.exchange", Parcel(1, "x", b""))
    queue.close()


def test_a_queue_that_is_not_there_is_an_error(broker: VirtualHost) -> None:
    queue = BrokerQueue(broker.connect, "no_such_queue.parking")
    with pytest.raises((PermanentError, TransientError), match="no_such_queue"):
        list(queue.parked())
    queue.close()


def test_a_replay_takes_the_chosen_and_leaves_the_others_in_their_places(
    broker: VirtualHost,
) -> None:
    park(broker, "schema", "store_refused", "schema", "store_refused", "schema")
    lot, rows = BrokerQueue(broker.connect, PARKING), Rows()
    count = replay(
        lot,
        rows,
        WorkQueue.INVOICES,
        Selection(reason="store_refused"),
        person="Ana",
        reason="test",
    )
    lot.close()
    wait_for_return(broker, PARKING)
    assert count == 2
    assert rows == ["m1", "m3"]
    assert ids_in(broker, PARKING) == ["m0", "m2", "m4"]
    work = BrokerQueue(broker.connect, "invoice_queue")
    copies = work.batch(5, 5)
    work.close()
    assert [copy.message_id for copy in copies] == ["m1", "m3"]
    assert [copy.headers.keys() for copy in copies] == [{"x-attempt", "x-replayed-at"}] * 2
    assert [copy.attempt for copy in copies] == [1, 1]


def test_a_plan_leaves_everything_in_its_place(broker: VirtualHost) -> None:
    park(broker, "schema", "store_refused", "schema")
    lot = BrokerQueue(broker.connect, PARKING)
    assert plan(lot, Selection()).count == 3
    lot.close()
    wait_for_return(broker, PARKING)
    assert ids_in(broker, PARKING) == ["m0", "m1", "m2"]


def test_two_do_not_read_a_parking_queue_at_once(broker: VirtualHost) -> None:
    park(broker, "schema", "schema")
    one, other = BrokerQueue(broker.connect, PARKING), BrokerQueue(broker.connect, PARKING)
    reading = one.parked()
    next(reading)
    with pytest.raises(TransientError, match="somebody else is reading"):
        next(other.parked(), None)
    one.close()
    other.close()


def test_ten_thousand_parked_messages(broker: VirtualHost) -> None:
    connection = broker.connect()
    channel = connection.channel()
    for number in range(10_000):
        reason = "store_refused" if number % 100 == 0 else "schema"
        channel.basic_publish(
            "documents.dlx",
            "invoice.created",
            b"{}",
            pika.BasicProperties(message_id=f"m{number}", headers={"x-park-reason": reason}),
        )
    connection.process_data_events()
    wait_until(lambda: broker.depth(PARKING) == 10_000, "all parked", timeout_s=60)
    connection.close()
    lot, rows = BrokerQueue(broker.connect, PARKING), Rows()
    chosen = Selection(reason="store_refused")
    count = replay(lot, rows, WorkQueue.INVOICES, chosen, person="Ana", reason="test")
    lot.close()
    assert count == 100
    wait_until(lambda: broker.depth(PARKING) == 9_900, "the others are back")
    kept = ids_in(broker, PARKING)
    assert kept == [f"m{number}" for number in range(10_000) if number % 100]


def test_copies_go_together_and_all_are_there(broker: VirtualHost) -> None:
    queue = BrokerQueue(broker.connect, "notification_queue")
    queue.publish_all(
        [("documents.retry.4", Parcel(0, "x", b"%d" % number)) for number in range(500)]
    )
    assert broker.depth("documents.retry.4") == 500
    queue.close()


def test_one_copy_that_no_queue_takes_is_an_error_and_the_next_goes_on(
    broker: VirtualHost,
) -> None:
    queue = BrokerQueue(broker.connect, "notification_queue")
    good = Parcel(0, "notification.send", b"{}")
    with pytest.raises(PermanentError, match="no queue is bound"):
        queue.publish_all(
            [("documents_exchange", good), ("documents_exchange", Parcel(0, "x", b""))]
        )
    queue.publish("documents_exchange", good)
    assert broker.depth("notification_queue") == 2
    queue.close()


def test_a_queue_that_is_full_takes_no_copy(broker: VirtualHost) -> None:
    administrator = broker.administrator()
    administrator.queue_declare(
        "full", durable=True, arguments={"x-max-length": 0, "x-overflow": "reject-publish"}
    )
    administrator.queue_bind("full", "documents_exchange", "full")
    administrator.connection.close()
    queue = BrokerQueue(broker.connect, "notification_queue")
    with pytest.raises(TransientError):
        queue.publish("documents_exchange", Parcel(0, "full", b"{}"))
    queue.close()


def test_a_broker_that_does_not_confirm_is_not_waited_for_for_ever(broker: VirtualHost) -> None:
    """Its process is there and says nothing, as with a disk that hangs."""
    server = urlsplit(broker.url)
    with stalling_proxy(server.hostname or "", server.port or 0) as (port, stall):
        login = server.netloc.rpartition("@")[0]
        address = server._replace(netloc=f"{login}@127.0.0.1:{port}").geturl()
        queue = BrokerQueue(
            lambda: pika.BlockingConnection(pika.URLParameters(address)),
            "notification_queue",
            confirm_s=1,
        )
        queue.publish("documents_exchange", Parcel(0, "notification.send", b"{}"))
        stall.set()
        with pytest.raises(TransientError, match="no confirm within 1 s"):
            queue.publish("documents_exchange", Parcel(0, "notification.send", b"{}"))
        stall.clear()
        queue.close()


@contextlib.contextmanager
def stalling_proxy(host: str, port: int) -> Iterator[tuple[int, threading.Event]]:
    """A way to a server on which nothing comes back while the event is set."""
    stall = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    ends: list[socket.socket] = []

    def forward(source: socket.socket, target: socket.socket, *, may_stall: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                while may_stall and stall.is_set():
                    time.sleep(0.01)
                target.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                upstream = socket.create_connection((host, port))
                ends.extend((client, upstream))
                for pair in ((client, upstream, False), (upstream, client, True)):
                    thread = threading.Thread(
                        target=forward, args=pair[:2], kwargs={"may_stall": pair[2]}, daemon=True
                    )
                    thread.start()
                    threads.append(thread)

    threads = [threading.Thread(target=accept, daemon=True)]
    threads[0].start()
    yield listener.getsockname()[1], stall
    stall.clear()
    listener.shutdown(socket.SHUT_RDWR)
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(20)
    for end in (listener, *ends):
        end.close()
