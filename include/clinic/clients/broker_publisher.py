"""Publishing to RabbitMQ with confirms that are waited for together, and not for ever.

pika's ``BlockingChannel.basic_publish`` waits for each confirm before the next message may go, and
as long as it takes: a broker whose disk hangs still answers heartbeats. The channel below it hands
confirms to a callback, and its connection has timers, which pika's own heartbeat ends a dead
connection with; both are used here. They are not public: tests/integration/notifications/
test_broker_queue.py holds them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pika
import pika.exceptions

from clinic.documents.parcel import Parcel

CONFIRM_S: Final = 30.0
"""The longest to wait for the broker to have taken what was published."""


class BrokerPublisher:
    """One connection that only publishes: a broker short of memory or disk stops reading such.

    Args:
        connection: Its own.
        confirm_s: The longest to wait for confirms.
    """

    def __init__(self, connection: pika.BlockingConnection, confirm_s: float = CONFIRM_S) -> None:
        self._connection = connection
        self._confirm_s = confirm_s
        self._last_tag = 0
        self._waiting: set[int] = set()
        self._refused = False
        self._returned: str | None = None
        with self._not_longer():
            self._channel = connection.channel()
            self._below: Any = self._channel._impl
            self._below.add_on_return_callback(self._on_returned)
            selected: list[Any] = []
            self._below.confirm_delivery(self._on_confirmed, selected.append)
            self._channel._flush_output(lambda: bool(selected))

    def publish(self, messages: Sequence[tuple[str, Parcel]]) -> None:
        """Publish to the exchanges named, and return when the broker has all in queues.

        Raises:
            pika.exceptions.AMQPError: It has not, as far as we know: UnroutableError where no queue
                is bound, NackError where one is full, and what a lost connection raises.
        """
        self._refused, self._returned = False, None
        with self._not_longer():
            for exchange, parcel in messages:
                properties = pika.BasicProperties(
                    content_type="application/json",
                    delivery_mode=pika.DeliveryMode.Persistent.value,
                    message_id=parcel.message_id,
                    type=parcel.type,
                    timestamp=parcel.timestamp or int(time.time()),
                    headers=dict(parcel.headers),
                )
                self._below.basic_publish(
                    exchange, parcel.routing_key, parcel.body, properties, mandatory=True
                )
                self._last_tag += 1
                self._waiting.add(self._last_tag)
            self._channel._flush_output(lambda: not self._waiting)
        if self._returned is not None:
            raise pika.exceptions.UnroutableError([])
        if self._refused:
            raise pika.exceptions.NackError([])

    def keep_alive(self) -> None:
        """Answer the broker's heartbeat."""
        self._connection.process_data_events(0)

    def close(self) -> None:
        """Close the connection."""
        if self._connection.is_open:
            self._connection.close()

    def _on_confirmed(self, frame: Any) -> None:
        method = frame.method
        tags = (
            {tag for tag in self._waiting if tag <= method.delivery_tag}
            if method.multiple
            else {method.delivery_tag}
        )
        self._waiting -= tags
        if isinstance(method, pika.spec.Basic.Nack):
            self._refused = True

    def _on_returned(self, _: Any, method: Any, __: Any, ___: Any) -> None:
        # The broker returns a message before it confirms it.
        self._returned = f"{method.exchange} {method.routing_key}"

    @contextlib.contextmanager
    def _not_longer(self) -> Iterator[None]:
        """End the connection when what is done inside takes too long."""
        below: Any = self._connection._impl

        def end() -> None:
            below._terminate_stream(
                pika.exceptions.StreamLostError(f"no confirm within {self._confirm_s:.0f} s")
            )

        timer = below._adapter_call_later(self._confirm_s, end)
        try:
            yield
        finally:
            with contextlib.suppress(Exception):  # the connection may be gone, its timers with it
                below._adapter_remove_timeout(timer)
