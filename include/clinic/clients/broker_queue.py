"""One queue of RabbitMQ: read in batches, copied from with confirms, acknowledged one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel

from clinic.clients.broker_publisher import CONFIRM_S, BrokerPublisher
from clinic.documents.parcel import Parcel
from clinic.errors import ClinicError, PermanentError, TransientError

# How many parked messages are held at a time. AMQP counts the prefetch in 16 bits.
MAX_HELD: Final = 50_000
# After so many returns a message is held alone: it may be what ends its workers, and each end
# counts for all that the worker held. The broker takes a message out after 20.
SUSPECT: Final = 3
QUIET_S: Final = 5.0  # a broker that says nothing for so long has no more

_BUSY: Final = "{}: somebody else is reading it. Wait until they are done."
_FAILURES: Final = (pika.exceptions.AMQPError, OSError)


class BrokerQueue:
    """One queue, over a connection of its own. What was not acknowledged returns when it closes.

    Copies go over a second connection, opened when first needed: a broker that is short of memory
    stops reading what publishes, and acknowledgements must not wait with it.

    Args:
        connect: Opens a connection of pika.
        name: The queue's name.
        confirm_s: The longest to wait for the broker to have taken a copy.
    """

    def __init__(
        self,
        connect: Callable[[], pika.BlockingConnection],
        name: str,
        *,
        confirm_s: float = CONFIRM_S,
    ) -> None:
        self._connect = connect
        self._confirm_s = confirm_s
        self._name = name
        self._connection: pika.BlockingConnection | None = None
        self._reading: BlockingChannel | None = None
        self._publisher: BrokerPublisher | None = None
        self._prefetch: int | None = None
        self._is_careful = True

    def batch(self, limit: int, wait_s: float) -> list[Parcel]:
        """Return what waits, at most ``limit``; nothing when nothing came for ``wait_s``.

        What came back ``SUSPECT`` times comes alone, at the beginning: the broker puts what a dead
        worker held at the queue's head.

        Raises:
            TransientError: The broker is not there, or no longer.
            PermanentError: The queue does not exist, or may not be read.
        """
        parcels: list[Parcel] = []
        with self._doing("Reading"):
            if self._is_careful and (first := self._take_one()):
                if first.returns >= SUSPECT:
                    return [first]
                parcels.append(first)
            self._is_careful = False
            # More than the batch is not held: a worker that dies returns only these.
            channel = self._reader(limit)
            patience_s = 0.2 if parcels else wait_s
            while len(parcels) < limit:
                parcel = _next(channel, self._name, patience_s)
                if parcel is None:
                    break
                parcels.append(parcel)
                patience_s = 0.05  # what is there already; nobody waits for a batch to be full
        return parcels

    def parked(self) -> Iterator[Parcel]:
        """Yield each message that lies there now, once, the oldest first, to nobody else meanwhile.

        All of them are held at once, at most ``MAX_HELD``, so that those which are not acknowledged
        return to their places when the connection closes. Only their reader's parcels hold bodies.

        Raises:
            TransientError: The broker is not there, or somebody else is reading.
            PermanentError: The queue does not exist, or may not be read.
        """
        with self._doing("Counting"):
            answer = self._open().queue_declare(self._name, passive=True)
        if answer.method.consumer_count:  # what they hold does not count as a message here
            raise TransientError(_BUSY.format(self._name))
        count = min(int(answer.method.message_count), MAX_HELD)
        for _ in range(count):
            with self._doing("Reading"):
                parcel = _next(self._reader(count), self._name, QUIET_S, exclusive=True)
            if parcel is None:
                return
            yield parcel

    def publish(self, exchange: str, parcel: Parcel) -> None:
        """Publish a copy and return when the broker has it in a queue; see :meth:`publish_all`."""
        self.publish_all([(exchange, parcel)])

    def publish_all(self, copies: Sequence[tuple[str, Parcel]]) -> None:
        """Publish copies to the exchanges named, and return when the broker has all in queues.

        Raises:
            TransientError: The broker did not take one, or is not there, or does not say in time.
            PermanentError: No queue is bound there.
        """
        if not copies:
            return
        exchanges = ", ".join(sorted({exchange for exchange, _ in copies}))
        with self._doing(f"Publishing to {exchanges} from"):
            if self._publisher is None:
                self._publisher = BrokerPublisher(self._connect(), self._confirm_s)
            try:
                self._publisher.publish(copies)
            except _FAILURES:
                publisher, self._publisher = self._publisher, None
                with contextlib.suppress(*_FAILURES):
                    publisher.close()
                raise

    def depth(self, name: str | None = None) -> int:
        """Return how many messages wait in the queue, or in another one; a count costs nothing."""
        with self._doing("Counting"):
            answer = self._open().queue_declare(name or self._name, passive=True)
            return int(answer.method.message_count)

    def ack(self, parcel: Parcel) -> None:
        """Let the broker forget a message."""
        with self._doing("Acknowledging in"):
            self._open().basic_ack(parcel.tag)

    def put_back(self, parcel: Parcel) -> None:
        """Return a message to its place: there was no time for it."""
        with self._doing("Putting back into"):
            self._open().basic_nack(parcel.tag, requeue=True)

    def keep_alive(self) -> None:
        """Answer the broker's heartbeat, which nobody else does while documents are on their way.

        Raises:
            TransientError: The broker is not there any more.
        """
        with self._doing("Holding"):
            if self._connection is not None:
                self._connection.process_data_events(0)
            if self._publisher is not None:
                self._publisher.keep_alive()
            if self._reading is not None and not self._reading.is_open:
                raise pika.exceptions.ChannelWrongStateError("the broker closed the channel")

    def close(self) -> None:
        """Close the connection; what was not acknowledged returns to its place."""
        connection, self._connection = self._connection, None
        reading, self._reading = self._reading, None
        publisher, self._publisher = self._publisher, None
        is_consuming, self._prefetch = self._prefetch is not None, None
        if publisher is not None:
            with contextlib.suppress(*_FAILURES):
                publisher.close()
        if connection is not None and connection.is_open:
            with contextlib.suppress(*_FAILURES):
                if is_consuming and reading is not None and reading.is_open:
                    reading.cancel()  # the broker answers: who comes next finds no other reader
                connection.close()

    def _take_one(self) -> Parcel | None:
        """Take the first message, and hold no other for it."""
        method, properties, body = self._open().basic_get(self._name)
        return None if method is None else _parcel(method, properties, body)

    def _reader(self, prefetch: int) -> BlockingChannel:
        channel = self._open()
        if self._prefetch is None:
            channel.basic_qos(prefetch_count=prefetch)
            self._prefetch = prefetch
        return channel

    def _open(self) -> BlockingChannel:
        if self._reading is None:
            self._connection = self._connect()
            self._reading = self._connection.channel()
        return self._reading

    @contextlib.contextmanager
    def _doing(self, doing: str) -> Iterator[None]:
        """Translate what goes wrong."""
        try:
            yield
        except _FAILURES as error:
            raise _meaning(f"{doing} {self._name}", error) from error


def _next(
    channel: BlockingChannel, queue: str, wait_s: float, *, exclusive: bool = False
) -> Parcel | None:
    """Return the next message, None when none comes in time."""
    consumer = channel.consume(queue, inactivity_timeout=max(wait_s, 0.001), exclusive=exclusive)
    method, properties, body = next(consumer, (None, None, None))
    if method is None or properties is None:
        if not channel.is_open:  # pika ends its iterator without a word
            raise pika.exceptions.ChannelWrongStateError("the broker closed the channel")
        return None
    return _parcel(method, properties, body)


def _parcel(method: Any, properties: Any, body: bytes | None) -> Parcel:
    return Parcel(
        tag=cast(int, method.delivery_tag),
        routing_key=cast(str, method.routing_key),
        body=body or b"",
        message_id=properties.message_id,
        type=properties.type,
        timestamp=properties.timestamp,
        headers=properties.headers or {},
    )


def _meaning(doing: str, error: Exception) -> ClinicError:
    said = str(error) or type(error).__name__
    if isinstance(error, pika.exceptions.UnroutableError):
        return PermanentError(
            f"{doing}: no queue is bound there. Load rabbitmq/definitions.json into the broker."
        )
    if isinstance(error, pika.exceptions.ChannelClosedByBroker):
        if error.reply_code == 403 and "exclusive" in said:
            return TransientError(_BUSY.format(doing))
        if error.reply_code in {403, 404}:
            return PermanentError(
                f"{doing}: {error.reply_text}. Load rabbitmq/definitions.json into the broker."
            )
    return TransientError(f"{doing}: {said[:300]}. Trying again may help; is RabbitMQ up?")
