"""RabbitMQ as a message queue of Airflow's common-messaging provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.messaging.providers.base_provider import BaseMessageQueueProvider

from rabbitmq_provider.triggers.rabbitmq import RabbitMQMessageTrigger

if TYPE_CHECKING:
    from airflow.triggers.base import BaseEventTrigger


class RabbitMQMessageQueueProvider(BaseMessageQueueProvider):
    """Answers to ``MessageQueueTrigger(scheme="rabbitmq", queue_name=…, rabbitmq_conn_id=…)``."""

    scheme = "rabbitmq"

    def trigger_class(self) -> type[BaseEventTrigger]:
        """Return the trigger that consumes the queue."""
        return RabbitMQMessageTrigger
