"""Waiting for a queue to fill."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from rabbitmq_provider.backoff import Backoff
from rabbitmq_provider.errors import RabbitMQError
from rabbitmq_provider.hooks.rabbitmq import QueueDepth, RabbitMQHook
from rabbitmq_provider.triggers.rabbitmq import FINAL, RabbitMQQueueTrigger, is_ready

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class RabbitMQQueueSensor(BaseSensorOperator):
    """Waits until a queue holds messages. Consumes none. Returns how many there are.

    A broker that goes away meanwhile is waited for too, with growing pauses and a line in the
    log. A queue that does not exist, a wrong login or virtual host fail the task, even with
    ``soft_fail``, which skips it only when the time is up.

    Args:
        queue: The queue of RabbitMQ. Airflow's own argument of that name, the queue of its
            workers, is ``worker_queue`` here.
        min_messages: Go on once so many messages are ready.
        only_when_no_consumers: Go on only while nobody reads from the queue.
        rabbitmq_conn_id: The connection to use.
        poll_interval_s: Pause between two questions to the broker.
        deferrable: Wait in the triggerer, where waiting takes no worker.
        worker_queue: The queue of Airflow's workers that this task runs in.
        kwargs: As for any sensor: ``timeout``, ``soft_fail`` and so on.
    """

    template_fields: Sequence[str] = ("queue_name", "rabbitmq_conn_id")
    ui_color = "#ffe6d1"

    def __init__(
        self,
        *,
        queue: str,
        min_messages: int = 1,
        only_when_no_consumers: bool = False,
        rabbitmq_conn_id: str = RabbitMQHook.default_conn_name,
        poll_interval_s: float = 1.0,
        deferrable: bool = True,
        worker_queue: str | None = None,
        **kwargs: Any,
    ) -> None:
        if min_messages < 1:
            raise ValueError(f"min_messages is {min_messages}: an empty queue needs no waiting for")
        if worker_queue is not None:
            kwargs["queue"] = worker_queue
        super().__init__(**{"poke_interval": poll_interval_s, **kwargs})
        self.queue_name = queue
        self.min_messages = min_messages
        self.only_when_no_consumers = only_when_no_consumers
        self.rabbitmq_conn_id = rabbitmq_conn_id
        self.poll_interval_s = poll_interval_s
        self.deferrable = deferrable
        self._hook: RabbitMQHook | None = None
        self._backoff = Backoff()
        self._not_before = 0.0
        self._answered = False

    def execute(self, context: Context) -> Any:
        """Return at once if the queue is ready; else wait, here or in the triggerer."""
        try:
            if not self.deferrable:
                return super().execute(context)
            if answer := self.poke(context):
                return answer.xcom_value
        finally:
            self._close()
        self.defer(
            trigger=RabbitMQQueueTrigger(
                queue_name=self.queue_name,
                min_messages=self.min_messages,
                only_when_no_consumers=self.only_when_no_consumers,
                rabbitmq_conn_id=self.rabbitmq_conn_id,
                poll_interval_s=self.poll_interval_s,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout),
        )
        raise AssertionError("defer() does not return")

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> int:
        """Go on after the trigger: return the number of messages, or fail with its reason."""
        if event is None or event.get("status") != "success":
            raise RabbitMQError((event or {}).get("message") or "The trigger ended with no event.")
        self._log_depth(QueueDepth(event["messages"], event["consumers"]))
        return int(event["messages"])

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask the broker once, unless it has only just failed to answer."""
        if time.monotonic() < self._not_before:
            return PokeReturnValue(is_done=False)
        self._hook = self._hook or RabbitMQHook(self.rabbitmq_conn_id)
        try:
            depth = self._hook.queue_depth(self.queue_name)
        except RabbitMQError as error:
            # A broker that is just starting may say that its virtual host is down.
            hopeful = error.transient or (self._answered and not isinstance(error, FINAL))
            if not hopeful:
                raise
            pause_s = self._backoff.next_s()
            self._not_before = time.monotonic() + pause_s
            log.warning("%s Trying again in %g s.", error, pause_s)
            return PokeReturnValue(is_done=False)
        self._answered = True
        if self._backoff.failures:
            log.info("RabbitMQ answers again; still waiting for %s", self.queue_name)
            self._backoff.reset()
        if not is_ready(depth, self.min_messages, self.only_when_no_consumers):
            return PokeReturnValue(is_done=False)
        self._log_depth(depth)
        return PokeReturnValue(is_done=True, xcom_value=depth.messages)

    def _log_depth(self, depth: QueueDepth) -> None:
        log.info("%s: %d messages, %d consumers", self.queue_name, depth.messages, depth.consumers)

    def _close(self) -> None:
        if self._hook is not None:
            self._hook.close()
            self._hook = None
