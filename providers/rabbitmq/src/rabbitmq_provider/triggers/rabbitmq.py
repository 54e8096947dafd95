"""What runs in the triggerer: waiting for a queue to fill, and turning messages into events."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent
from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

from rabbitmq_provider.backoff import Backoff
from rabbitmq_provider.errors import (
    BROKER_FAILURES,
    BrokerUnavailableError,
    LoginRefusedError,
    QueueNotFoundError,
    RabbitMQError,
    explain,
)
from rabbitmq_provider.hooks.rabbitmq import QueueDepth, RabbitMQHook

if TYPE_CHECKING:
    import aiormq
    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

    from rabbitmq_provider.settings import ConnectionSettings

log = logging.getLogger(__name__)

PREFETCH = 50
CONSUMER_CHECK_S = 5.0

# What a broker that is just starting does not say by mistake.
FINAL = (QueueNotFoundError, LoginRefusedError)


class RabbitMQQueueTrigger(BaseTrigger):
    """Fires once a queue holds messages. Consumes none.

    It asks by passive declaration, on one connection that it keeps. A lost connection is opened
    again, with growing pauses, for as long as the trigger runs.

    Args:
        queue_name: The queue.
        min_messages: Fire once so many messages are ready.
        only_when_no_consumers: Fire only while nobody reads from the queue.
        rabbitmq_conn_id: The connection to use.
        poll_interval_s: Pause between two questions.
    """

    def __init__(
        self,
        *,
        queue_name: str,
        min_messages: int = 1,
        only_when_no_consumers: bool = False,
        rabbitmq_conn_id: str = RabbitMQHook.default_conn_name,
        poll_interval_s: float = 1.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.queue_name = queue_name
        self.min_messages = min_messages
        self.only_when_no_consumers = only_when_no_consumers
        self.rabbitmq_conn_id = rabbitmq_conn_id
        self.poll_interval_s = poll_interval_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer makes this trigger from again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "queue_name": self.queue_name,
                "min_messages": self.min_messages,
                "only_when_no_consumers": self.only_when_no_consumers,
                "rabbitmq_conn_id": self.rabbitmq_conn_id,
                "poll_interval_s": self.poll_interval_s,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: the queue's depth, or why waiting for it is hopeless."""
        hook = RabbitMQHook(self.rabbitmq_conn_id)
        backoff = Backoff()
        depth: QueueDepth | None = None
        while depth is None:
            try:
                depth = await self._wait(hook, backoff)
            except RabbitMQError as error:
                if isinstance(error, FINAL):
                    yield TriggerEvent({"status": "error", "message": str(error)})
                    return
                pause_s = backoff.next_s()
                log.warning("%s Trying again in %g s.", error, pause_s)
                await asyncio.sleep(pause_s)
        yield TriggerEvent({"status": "success", **depth._asdict()})

    async def _wait(self, hook: RabbitMQHook, backoff: Backoff) -> QueueDepth:
        """Watch the queue on one connection until the trigger may fire."""
        settings = await hook.get_settings()
        connection = await hook.get_async_conn()
        try:
            channel = await connection.channel(publisher_confirms=False)
            while True:
                depth = await _depth(channel, self.queue_name, settings.timeout_s)
                if backoff.failures:
                    log.info("RabbitMQ answers again; still waiting for %s", self.queue_name)
                    backoff.reset()
                if is_ready(depth, self.min_messages, self.only_when_no_consumers):
                    log.info(
                        "%s: %d messages, %d consumers",
                        self.queue_name,
                        depth.messages,
                        depth.consumers,
                    )
                    return depth
                await asyncio.sleep(self.poll_interval_s)
        except BROKER_FAILURES as error:
            raise explain(error, settings, f"Asking for queue {self.queue_name!r}") from None
        finally:
            await _close(connection)


class RabbitMQMessageTrigger(BaseEventTrigger):
    """Turns every message of a queue into an event, and acknowledges it once that is stored.

    It is meant for the ``AssetWatcher`` of an asset. All watchers of one queue share one
    consumer, and each sees every message; a message is acknowledged when all of them have had
    their event stored in Airflow's database. Until then the broker keeps it, and delivers it
    again should the triggerer die: an event may come twice, and none is lost.

    The event's payload is a dictionary: ``queue``, ``exchange``, ``routing_key``, ``message_id``,
    ``correlation_id``, ``type``, ``content_type``, ``timestamp``, ``headers``, ``redelivered``,
    ``body`` and ``body_encoding`` (``utf-8``, or ``base64`` for what is not text).

    Args:
        queue_name: The queue.
        rabbitmq_conn_id: The connection to use.
        prefetch: How many messages may await their acknowledgement. Of watchers that share a
            queue, the first one's counts.
    """

    def __init__(
        self,
        *,
        queue_name: str,
        rabbitmq_conn_id: str = RabbitMQHook.default_conn_name,
        prefetch: int = PREFETCH,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.queue_name = queue_name
        self.rabbitmq_conn_id = rabbitmq_conn_id
        self.prefetch = prefetch

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer makes this trigger from again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "queue_name": self.queue_name,
                "rabbitmq_conn_id": self.rabbitmq_conn_id,
                "prefetch": self.prefetch,
            },
        )

    def shared_stream_key(self) -> tuple[str, str, str]:
        """Return what watchers of the same queue have in common."""
        return ("rabbitmq", self.rabbitmq_conn_id, self.queue_name)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Have Airflow tell us when an event is stored, which is when its message may go."""
        return MessageProducer(
            RabbitMQHook(kwargs["rabbitmq_conn_id"]), kwargs["queue_name"], kwargs["prefetch"]
        )

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Delivery]
    ) -> AsyncIterator[TriggerEvent]:
        """Yield one event for every message."""
        async for delivery in shared_stream:
            yield MessageEvent(payload=delivery.payload)
            # Only a filter that is asked for more knows that its event was taken over.
            delivery.taken += 1

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Refuse: outside a shared stream nobody would tell when to acknowledge."""
        raise NotImplementedError(
            "RabbitMQMessageTrigger acknowledges a message once its event is stored, which only "
            "the watcher of an asset can tell. To wait in a task, use RabbitMQQueueSensor."
        )
        yield  # makes this a generator, as the caller expects


class MessageEvent(TriggerEvent):
    """The event of one message. Its representation, which Airflow logs, leaves out the content."""

    def __repr__(self) -> str:
        """Name the message."""
        message_id = self.payload.get("message_id") if isinstance(self.payload, dict) else None
        return f"MessageEvent<message_id={message_id!r}>"

    __str__ = __repr__


@dataclass(eq=False, slots=True)
class Delivery:
    """One message in the hands of the watchers. Equal only to itself."""

    message: AbstractIncomingMessage
    payload: dict[str, Any]
    taken: int = 0  # by so many watchers, whose events are on their way to the database

    def __repr__(self) -> str:
        """Name the message."""
        return f"Delivery<message_id={self.message.message_id!r}>"


class MessageProducer(SharedStreamProducer):
    """Consumes a queue for the watchers, and acknowledges what they have stored.

    A lost connection is opened again, with growing pauses. The broker then delivers again what
    was not acknowledged; the acknowledgement of a delivery on the lost connection goes nowhere.

    Args:
        hook: Opens connections.
        queue_name: The queue to consume.
        prefetch: How many messages may await their acknowledgement.
    """

    def __init__(self, hook: RabbitMQHook, queue_name: str, prefetch: int) -> None:
        self._hook = hook
        self._queue_name = queue_name
        self._prefetch = prefetch
        self._connection: AbstractConnection | None = None

    async def open_stream(self) -> AsyncIterator[tuple[Delivery, Delivery]]:
        """Yield every message: once for the watchers, and once for :meth:`advance`."""
        backoff = Backoff()
        while True:
            try:
                async for message in self._messages():
                    backoff.reset()
                    delivery = Delivery(message, payload(message, self._queue_name))
                    yield delivery, delivery
            except RabbitMQError as error:
                await self.aclose()
                pause_s = backoff.next_s()
                # There is no task to fail: a person finds out here, or sees the queue grow.
                level = logging.WARNING if error.transient else logging.ERROR
                log.log(level, "%s Trying again in %g s.", error, pause_s)
                await asyncio.sleep(pause_s)

    async def _messages(self) -> AsyncIterator[AbstractIncomingMessage]:
        """Consume on one connection until it is lost, which is an error."""
        settings = await self._hook.get_settings()
        doing = f"Consuming queue {self._queue_name!r}"
        self._connection = await self._hook.get_async_conn()
        inbox: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
        try:
            channel = await self._connection.channel(publisher_confirms=False)
            await channel.set_qos(prefetch_count=self._prefetch, timeout=settings.timeout_s)
            queue = await channel.declare_queue(
                self._queue_name, passive=True, timeout=settings.timeout_s
            )
            channel.close_callbacks.add(lambda *_: inbox.put_nowait(None))
            tag = await queue.consume(inbox.put, timeout=settings.timeout_s)
            log.info("Consuming %s", self._queue_name)
            while True:
                try:
                    message = await asyncio.wait_for(inbox.get(), CONSUMER_CHECK_S)
                except TimeoutError:
                    # When a queue is deleted the broker cancels its consumers; aio-pika is mute.
                    underlay = cast("aiormq.Channel", await channel.get_underlay_channel())
                    if tag in underlay.consumers:
                        continue
                    message = None
                if message is None:
                    raise _stopped(settings, doing)
                yield message
        except BROKER_FAILURES as error:
            raise explain(error, settings, doing) from None

    def get_advance_lane(self, broker_payload: Delivery) -> Delivery:
        """Let every message be acknowledged by itself: none waits for an earlier one."""
        return broker_payload

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Acknowledge messages whose events are stored; give the others back to the queue."""
        for delivery, outcome in batch:
            message: AbstractIncomingMessage = delivery.message
            # Airflow also counts as accepted what a watcher held when it was cancelled, even
            # where its event was not taken over yet.
            stored = outcome.is_clean and delivery.taken >= outcome.acked
            try:
                if stored:
                    await message.ack()
                else:
                    await message.nack(requeue=True)
            except BROKER_FAILURES as error:
                log.info(
                    "Message %r goes back to %s with its lost connection, and will come again: %s",
                    message.message_id,
                    self._queue_name,
                    type(error).__name__,
                )

    async def aclose(self) -> None:
        """Close the connection; the broker takes back what was not acknowledged."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await _close(connection)


def is_ready(depth: QueueDepth, min_messages: int, only_when_no_consumers: bool) -> bool:
    """Tell whether a queue is what a sensor waits for."""
    return depth.messages >= min_messages and not (only_when_no_consumers and depth.consumers)


def payload(message: AbstractIncomingMessage, queue_name: str) -> dict[str, Any]:
    """Return a message as JSON can hold it."""
    try:
        body, encoding = message.body.decode(), "utf-8"
    except UnicodeDecodeError:
        body, encoding = base64.b64encode(message.body).decode(), "base64"
    return {
        "queue": queue_name,
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "message_id": message.message_id,
        "correlation_id": message.correlation_id,
        "type": message.type,
        "content_type": message.content_type,
        "timestamp": _plain(message.timestamp),
        "headers": _plain(message.headers),
        "redelivered": bool(message.redelivered),
        "body": body,
        "body_encoding": encoding,
    }


def _plain(value: object) -> Any:
    """Turn a value of an AMQP table into one that JSON has."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            return value.isoformat()
        case bytes() | bytearray():
            return base64.b64encode(value).decode()
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return str(value)


def _stopped(settings: ConnectionSettings, doing: str) -> BrokerUnavailableError:
    return BrokerUnavailableError(
        f"{doing} at {settings.address} stopped: the connection was lost, or the queue deleted."
    )


async def _depth(channel: AbstractChannel, queue_name: str, timeout_s: float) -> QueueDepth:
    queue = await channel.declare_queue(queue_name, passive=True, timeout=timeout_s)
    answer = queue.declaration_result
    return QueueDepth(answer.message_count or 0, answer.consumer_count or 0)


async def _close(connection: AbstractConnection) -> None:
    with suppress(*BROKER_FAILURES):
        await connection.close()
