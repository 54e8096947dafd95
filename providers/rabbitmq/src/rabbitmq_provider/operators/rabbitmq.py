"""Publishing from a task."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pika
from airflow.sdk import BaseOperator

from rabbitmq_provider.hooks.rabbitmq import RabbitMQHook

if TYPE_CHECKING:
    from airflow.sdk import Context

    from rabbitmq_provider.hooks.rabbitmq import Body

log = logging.getLogger(__name__)


class RabbitMQPublishOperator(BaseOperator):
    """Publishes one message, and succeeds once the broker has it in a queue.

    Returns the message id. Unless one is given it is made from the task and its run, so that a
    retry sends the same one: whoever reads the queue can tell a repetition by it.

    Args:
        exchange: Where to; empty for the default exchange, which knows queues by their names.
        routing_key: By which the exchange chooses queues. Templated.
        body: Bytes as they are, text as UTF-8, anything else as JSON. Templated; the page
            *Rendered Templates* shows it.
        headers: Of the message. Templated.
        message_id: Of the message. Templated.
        content_type: Default by the body: ``application/json``, ``text/plain`` or
            ``application/octet-stream``.
        rabbitmq_conn_id: The connection to use.
        kwargs: As for any operator.
    """

    template_fields: Sequence[str] = ("exchange", "routing_key", "body", "headers", "message_id")
    template_fields_renderers = {"body": "json", "headers": "json"}  # noqa: RUF012
    ui_color = "#ffe6d1"

    def __init__(
        self,
        *,
        exchange: str = "",
        routing_key: str,
        body: Body,
        headers: dict[str, Any] | None = None,
        message_id: str | None = None,
        content_type: str | None = None,
        rabbitmq_conn_id: str = RabbitMQHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.exchange = exchange
        self.routing_key = routing_key
        self.body = body
        self.headers = headers
        self.message_id = message_id
        self.content_type = content_type
        self.rabbitmq_conn_id = rabbitmq_conn_id

    def execute(self, context: Context) -> str:
        """Publish, and return the message id.

        Raises:
            UnroutableError: No queue is bound there.
            NotConfirmedError: The broker did not take it.
            RabbitMQError: Anything else; the message says what.
        """
        properties = pika.BasicProperties(
            message_id=self.message_id or _message_id(context),
            headers=self.headers,
            content_type=self.content_type,
        )
        with RabbitMQHook(self.rabbitmq_conn_id) as hook:
            message_id = hook.publish(
                self.exchange, self.routing_key, self.body, properties=properties
            )
        log.info(
            "Published message %s to exchange %r with routing key %r",
            message_id,
            self.exchange,
            self.routing_key,
        )
        return message_id


def _message_id(context: Context) -> str:
    ti = context["ti"]
    index = f".{ti.map_index}" if ti.map_index is not None and ti.map_index >= 0 else ""
    # AMQP's short strings hold 255 bytes.
    return f"{ti.dag_id}.{ti.task_id}{index}.{ti.run_id}"[-255:]
