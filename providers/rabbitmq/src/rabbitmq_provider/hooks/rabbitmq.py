"""Airflow's way in to RabbitMQ."""

from __future__ import annotations

import copy
import json
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pika
import pika.exceptions
from airflow.sdk import BaseHook

from rabbitmq_provider.errors import (
    BROKER_FAILURES,
    NotConfirmedError,
    RabbitMQError,
    UnroutableError,
    explain,
)
from rabbitmq_provider.get_provider_info import FORM
from rabbitmq_provider.settings import ConnectionSettings

if TYPE_CHECKING:
    from types import TracebackType

    from aio_pika.abc import AbstractConnection
    from pika.adapters.blocking_connection import BlockingChannel

type Body = bytes | str | Mapping[str, Any] | Sequence[Any]

log = logging.getLogger(__name__)

PERSISTENT = 2


class QueueDepth(NamedTuple):
    """How many messages wait in a queue, and how many consumers it has.

    Messages that a consumer holds and has not acknowledged do not count.
    """

    messages: int
    consumers: int


class RabbitMQHook(BaseHook):
    """Turns an Airflow connection into connections of pika and aio-pika, and publishes.

    The connection holds: host, port (default 5672, with TLS 5671), login, password, schema (the
    virtual host, default ``/``) and, in extra, ``ssl``, ``ca_file``, ``heartbeat_s`` (default 60)
    and ``timeout_s`` (default 10).

    :meth:`publish` and :meth:`queue_depth` share one connection, which :meth:`close` or a ``with``
    block closes. Like pika, the hook belongs to one thread.

    Args:
        rabbitmq_conn_id: The connection to use.
    """

    conn_name_attr = "rabbitmq_conn_id"
    default_conn_name = "rabbitmq_default"
    conn_type = "rabbitmq"
    hook_name = "RabbitMQ"

    def __init__(self, rabbitmq_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.rabbitmq_conn_id = rabbitmq_conn_id
        self._kept: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._settings: ConnectionSettings | None = None

    @property
    def settings(self) -> ConnectionSettings:
        """What the Airflow connection says; read once."""
        if self._settings is None:
            connection = self.get_connection(self.rabbitmq_conn_id)
            self._settings = ConnectionSettings.from_connection(connection)
        return self._settings

    async def get_settings(self) -> ConnectionSettings:
        """Return :attr:`settings`, from the triggerer's event loop."""
        if self._settings is None:
            connection = await self.aget_connection(self.rabbitmq_conn_id)
            self._settings = ConnectionSettings.from_connection(connection)
        return self._settings

    def get_conn(self) -> pika.BlockingConnection:
        """Open a new connection. The caller closes it.

        Raises:
            RabbitMQError: It cannot be opened; the message says why.
        """
        return self.settings.connect()

    async def get_async_conn(self) -> AbstractConnection:
        """Open a new connection of aio-pika, which does not come back by itself. Close it after."""
        return await (await self.get_settings()).connect_async()

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: Body,
        *,
        properties: pika.BasicProperties | None = None,
    ) -> str:
        """Publish one message, and return its message id once the broker has it in a queue.

        A message is persistent unless its properties say otherwise. Should a connection be lost
        before the broker's answer, the message may be there twice, with the same message id.

        Args:
            exchange: Where to; empty for the default exchange, which knows queues by their names.
            routing_key: By which the exchange chooses queues.
            body: Bytes as they are, text as UTF-8, anything else as JSON.
            properties: Of AMQP. ``message_id``, ``content_type`` and ``delivery_mode`` are
                filled in where they are empty.

        Raises:
            UnroutableError: No queue is bound there.
            NotConfirmedError: The broker did not take it.
            RabbitMQError: Anything else; the message says what.
        """
        content, content_type = _encoded(body)
        sent = copy.copy(properties) if properties else pika.BasicProperties()
        sent.content_type = sent.content_type or content_type
        sent.delivery_mode = sent.delivery_mode or PERSISTENT
        sent.message_id = sent.message_id or str(uuid.uuid4())
        target = f"exchange {exchange!r} with routing key {routing_key!r}"

        def publish(channel: BlockingChannel) -> None:
            channel.basic_publish(exchange, routing_key, content, sent, mandatory=True)

        try:
            self._do(publish, f"Publishing to {target}")
        except pika.exceptions.UnroutableError:
            raise UnroutableError(
                f"RabbitMQ returned message {sent.message_id!r}: no queue is bound to {target}. "
                "Bind one, or correct the routing key."
            ) from None
        except pika.exceptions.NackError:
            raise NotConfirmedError(
                f"RabbitMQ did not take message {sent.message_id!r} to {target}: a queue there is "
                "full, or is just not available. Try again once it has been drained."
            ) from None
        return str(sent.message_id)

    def queue_depth(self, queue: str) -> QueueDepth:
        """Ask the broker how deep a queue is. Consumes nothing and needs no permission on it.

        Raises:
            QueueNotFoundError: There is no such queue.
            RabbitMQError: Anything else; the message says what.
        """

        def declare(channel: BlockingChannel) -> QueueDepth:
            answer = channel.queue_declare(queue, passive=True).method
            return QueueDepth(answer.message_count, answer.consumer_count)

        return self._do(declare, f"Asking for queue {queue!r}")

    def test_connection(self) -> tuple[bool, str]:
        """Back the *Test* button of the Connections page."""
        try:
            self.get_conn().close()
            settings = self.settings
        except RabbitMQError as error:
            return False, str(error)
        return True, (
            f"Logged in at {settings.address} as {settings.login}, virtual host "
            f"{settings.virtual_host}"
        )

    def close(self) -> None:
        """Close the connection that :meth:`publish` and :meth:`queue_depth` share."""
        kept, self._kept, self._channel = self._kept, None, None
        if kept is not None and kept.is_open:
            try:
                kept.close()
            except BROKER_FAILURES as error:
                log.debug("Closing a connection that was already gone: %s", error)

    def __enter__(self) -> Self:
        """Close the shared connection at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the shared connection."""
        self.close()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Name the fields of the connection form as RabbitMQ names them."""
        return {name.replace("-", "_"): value for name, value in FORM.items()}

    def _do[T](self, action: Callable[[BlockingChannel], T], doing: str) -> T:
        """Do something on the kept channel; once more on a new one if the kept one had died."""
        kept = self._channel is not None
        try:
            return action(self._open_channel())
        except (pika.exceptions.UnroutableError, pika.exceptions.NackError):
            raise
        except BROKER_FAILURES as error:
            self.close()
            explained = explain(error, self.settings, doing)
        if kept and explained.transient:
            return self._do(action, doing)
        raise explained

    def _open_channel(self) -> BlockingChannel:
        if self._channel is None or not self._channel.is_open:
            self.close()
            self._kept = self.get_conn()
            self._channel = self._kept.channel()
            self._channel.confirm_delivery()
        return self._channel


def _encoded(body: Body) -> tuple[bytes, str]:
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    if isinstance(body, str):
        return body.encode(), "text/plain"
    return json.dumps(body, ensure_ascii=False).encode(), "application/json"
