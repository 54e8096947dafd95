"""The triggers, and Airflow's own manager of shared streams, against a real broker."""

import asyncio
import contextlib
import json
import uuid
from datetime import UTC, datetime

import aio_pika
import pika
import pytest
from airflow.triggers.base import TriggerEvent
from airflow.triggers.shared_stream import SharedStreamManager
from pydantic import TypeAdapter
from rabbitmq_provider.triggers import rabbitmq as triggers
from rabbitmq_provider.triggers.rabbitmq import (
    MessageEvent,
    RabbitMQMessageTrigger,
    RabbitMQQueueTrigger,
)

pytestmark = pytest.mark.stack

TIME_S = 25


def depth(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def publish(channel, queue, *bodies, **properties):
    channel.confirm_delivery()
    for body in bodies:
        channel.basic_publish(
            "",
            queue,
            body if isinstance(body, bytes) else body.encode(),
            pika.BasicProperties(**({"message_id": uuid.uuid4().hex} | properties)),
            mandatory=True,
        )


async def eventually(check):
    """Ask until it is so."""
    async with asyncio.timeout(TIME_S):
        while not check():
            await asyncio.sleep(0.02)


def run(coroutine):
    async def limited():
        async with asyncio.timeout(TIME_S):
            return await coroutine

    return asyncio.run(limited())


class TestQueueTrigger:
    def trigger(self, queue, conn_id, **arguments):
        made = RabbitMQQueueTrigger(
            queue_name=queue, rabbitmq_conn_id=conn_id, poll_interval_s=0.02, **arguments
        )
        path, kwargs = made.serialize()
        assert path.endswith(".RabbitMQQueueTrigger")
        return RabbitMQQueueTrigger(**kwargs)

    def test_it_fires_with_the_depth_and_consumes_nothing(self, queue, conn_id, channel):
        async def scenario():
            events = self.trigger(queue, conn_id, min_messages=2).run()
            waiting = asyncio.ensure_future(anext(events))
            publish(channel, queue, "one")
            done, _ = await asyncio.wait({waiting}, timeout=0.3)
            assert not done, "one message is too few"
            publish(channel, queue, "two")
            event = await waiting
            assert event.payload == {"status": "success", "messages": 2, "consumers": 0}
            with pytest.raises(StopAsyncIteration):
                await anext(events)

        run(scenario())
        assert depth(channel, queue) == 2

    def test_it_can_wait_for_readers_to_go(self, queue, conn_id, channel):
        channel.basic_qos(prefetch_count=1)
        publish(channel, queue, "one", "two", "three")
        tag = channel.basic_consume(queue, lambda *_: None)

        async def scenario():
            trigger = self.trigger(queue, conn_id, only_when_no_consumers=True)
            waiting = asyncio.ensure_future(anext(trigger.run()))
            done, _ = await asyncio.wait({waiting}, timeout=0.3)
            assert not done
            channel.basic_cancel(tag)
            assert (await waiting).payload["consumers"] == 0

        run(scenario())

    @pytest.mark.parametrize(
        ("fields", "text"), [({}, "does not exist"), ({"password": "x"}, "refused login")]
    )
    def test_what_cannot_come_right_is_an_event(self, connection, fields, text):
        async def scenario():
            return await anext(self.trigger("no-such-queue", connection(**fields)).run())

        event = run(scenario())
        assert event.payload["status"] == "error"
        assert text in event.payload["message"]

    def test_a_broker_that_goes_and_comes_is_waited_for(
        self, queue, line_conn_id, line, channel, caplog
    ):
        caplog.set_level("INFO")

        async def scenario():
            line.cut()
            waiting = asyncio.ensure_future(anext(self.trigger(queue, line_conn_id).run()))
            await eventually(lambda: "Trying again in 1 s" in caplog.text)
            line.mend()
            await eventually(lambda: "answers again" in caplog.text)
            caplog.clear()
            line.cut()
            await eventually(lambda: "Trying again in 1 s" in caplog.text)
            assert "answers again" not in caplog.text
            publish(channel, queue, "one")
            line.mend()
            return await waiting

        assert run(scenario()).payload["messages"] == 1

    def test_a_trigger_that_is_cancelled_leaves_no_connection(self, queue, line_conn_id, line):
        async def scenario():
            waiting = asyncio.ensure_future(anext(self.trigger(queue, line_conn_id).run()))
            await eventually(lambda: len(line._ends) >= 2)
            done, _ = await asyncio.wait({waiting}, timeout=0.3)
            assert not done
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await eventually(lambda: all(end.fileno() == -1 for end in line._ends))

        run(scenario())


class Watcher:
    """Does with one trigger what Airflow's triggerer does: takes events over, and stores them.

    Args:
        manager: Airflow's own.
        trigger_id: Any number.
        trigger: The trigger to run.
        stores: Whether an event, once taken over, is stored; else it never is.
    """

    def __init__(self, manager, trigger_id, trigger, stores=True):
        self.events = []
        self._manager = manager
        self._id = trigger_id
        self._trigger = trigger
        self._stores = stores
        self._key = trigger.shared_stream_key()
        self._task = asyncio.ensure_future(self._run())

    async def _run(self):
        try:
            stream = self._manager.subscribe(
                trigger_id=self._id, trigger=self._trigger, key=self._key
            )
            async for event in self._trigger.filter_shared_stream(stream):
                await self.before_taking_over()
                seq = self._manager.bind_pending_event(trigger_id=self._id, key=self._key)
                self.events.append(event)
                if self._stores:
                    asyncio.get_running_loop().call_soon(self._manager.confirm_persisted, [seq])
        finally:
            await self._manager.unsubscribe(self._id, self._key)

    async def before_taking_over(self):
        """Airflow writes a line to its log here, which takes time."""

    async def stop(self):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


class TestMessageTrigger:
    @pytest.fixture
    def trigger(self, queue, conn_id):
        return RabbitMQMessageTrigger(queue_name=queue, rabbitmq_conn_id=conn_id)

    @pytest.fixture
    def acknowledged(self, monkeypatch):
        """The ids of the messages that were acknowledged."""
        ids = []
        ack = aio_pika.IncomingMessage.ack

        async def noting_ack(message, multiple=False):
            await ack(message, multiple)
            ids.append(message.message_id)

        monkeypatch.setattr(aio_pika.IncomingMessage, "ack", noting_ack)
        return ids

    def test_a_message_is_acknowledged_once_its_event_is_stored(
        self, trigger, queue, channel, acknowledged
    ):
        publish(channel, queue, '{"n": 1}', headers={"a": 1}, content_type="application/json")

        async def scenario():
            watcher = Watcher(SharedStreamManager(), 1, trigger)
            await eventually(lambda: acknowledged)
            await watcher.stop()
            return watcher.events

        (event,) = run(scenario())
        assert event.payload["body"] == '{"n": 1}'
        assert event.payload["headers"] == {"a": 1}
        assert event.payload["queue"] == event.payload["routing_key"] == queue
        assert event.payload["redelivered"] is False
        assert depth(channel, queue) == 0

    def test_one_that_was_not_stored_comes_again(self, trigger, queue, channel):
        publish(channel, queue, "one")

        async def scenario():
            watcher = Watcher(SharedStreamManager(), 1, trigger, stores=False)
            await eventually(lambda: watcher.events)
            assert depth(channel, queue) == 0, "it is out, and held"
            await watcher.stop()
            again = Watcher(SharedStreamManager(), 1, trigger)
            await eventually(lambda: again.events)
            await again.stop()
            return again.events

        (event,) = run(scenario())
        assert event.payload["body"] == "one"
        assert event.payload["redelivered"] is True

    def test_one_whose_event_was_not_taken_over_comes_again(self, trigger, queue, channel):
        """The triggerer may be told to stop between an event and its taking over."""
        publish(channel, queue, "one")

        class Stopped(Watcher):
            async def before_taking_over(self):
                self.reached = True
                await asyncio.Event().wait()

        async def scenario():
            watcher = Stopped(SharedStreamManager(), 1, trigger)
            await eventually(lambda: hasattr(watcher, "reached"))
            await watcher.stop()
            assert not watcher.events
            await eventually(lambda: depth(channel, queue) == 1)

        run(scenario())

    def test_all_watchers_of_a_queue_see_a_message_and_all_must_store_it(
        self, trigger, queue, conn_id, channel
    ):
        async def scenario():
            manager = SharedStreamManager()
            one = Watcher(manager, 1, trigger)
            other = RabbitMQMessageTrigger(queue_name=queue, rabbitmq_conn_id=conn_id)
            two = Watcher(manager, 2, other, stores=False)
            await eventually(lambda: consumers(channel, queue) == 1)
            publish(channel, queue, "one")
            await eventually(lambda: one.events and two.events)
            await one.stop()
            await two.stop()
            await eventually(lambda: depth(channel, queue) == 1)

        run(scenario())

    def test_after_a_lost_connection_what_was_not_stored_comes_again(
        self, queue, line_conn_id, line, channel, caplog
    ):
        caplog.set_level("INFO")
        trigger = RabbitMQMessageTrigger(queue_name=queue, rabbitmq_conn_id=line_conn_id)
        publish(channel, queue, "one")

        async def scenario():
            manager = SharedStreamManager()
            watcher = Watcher(manager, 1, trigger, stores=False)
            await eventually(lambda: watcher.events)
            line.cut()
            await eventually(lambda: "Trying again" in caplog.text)
            # Now the database has the event: its acknowledgement has nowhere to go.
            manager.confirm_persisted(range(10))
            await eventually(lambda: "will come again" in caplog.text)
            line.mend()
            watcher._stores = True
            await eventually(lambda: len(watcher.events) == 2)
            publish(channel, queue, "two")
            await eventually(lambda: len(watcher.events) == 3)
            await watcher.stop()
            return watcher.events

        first, again, last = run(scenario())
        assert first.payload["message_id"] == again.payload["message_id"]
        assert again.payload["redelivered"] is True
        assert last.payload["body"] == "two"

    def test_a_queue_that_is_deleted_and_declared_again_is_consumed_again(
        self, trigger, queue, channel, monkeypatch, caplog
    ):
        monkeypatch.setattr(triggers, "CONSUMER_CHECK_S", 0.1)

        async def scenario():
            watcher = Watcher(SharedStreamManager(), 1, trigger)
            await eventually(lambda: consumers(channel, queue) == 1)
            channel.queue_delete(queue)
            await eventually(lambda: "does not exist" in caplog.text)
            arguments = {"x-queue-type": "quorum"}
            channel.queue_declare(queue, durable=True, arguments=arguments)
            publish(channel, queue, "one")
            await eventually(lambda: watcher.events)
            await watcher.stop()

        run(scenario())
        missing = next(record for record in caplog.records if "does not exist" in record.message)
        assert missing.levelname == "ERROR"

    def test_at_most_prefetch_messages_are_out(self, queue, conn_id, channel):
        publish(channel, queue, "one", "two", "three")
        trigger = RabbitMQMessageTrigger(queue_name=queue, rabbitmq_conn_id=conn_id, prefetch=2)

        async def scenario():
            watcher = Watcher(SharedStreamManager(), 1, trigger, stores=False)
            await eventually(lambda: len(watcher.events) == 2)
            assert depth(channel, queue) == 1
            await watcher.stop()

        run(scenario())

    def test_what_is_not_text_or_json_is_put_into_words(self, trigger, queue, channel):
        at = datetime(2026, 5, 1, 12, tzinfo=UTC)
        headers = {"when": at, "raw": b"\xff", "deep": {"list": [1, None, at]}}
        publish(channel, queue, b"\xff\xfe", headers=headers, timestamp=int(at.timestamp()))

        async def scenario():
            watcher = Watcher(SharedStreamManager(), 1, trigger)
            await eventually(lambda: watcher.events)
            await watcher.stop()
            return watcher.events[0].payload

        payload = json.loads(json.dumps(run(scenario())))
        assert (payload["body"], payload["body_encoding"]) == ("//4=", "base64")
        assert payload["timestamp"].startswith("2026-05-01T12:00:00")
        assert payload["headers"]["deep"]["list"][:2] == [1, None]

    def test_it_serializes_to_what_makes_it_again(self, trigger):
        _, kwargs = trigger.serialize()
        assert RabbitMQMessageTrigger(**kwargs).serialize() == trigger.serialize()

    def test_outside_a_shared_stream_it_refuses(self, trigger):
        with pytest.raises(NotImplementedError, match="RabbitMQQueueSensor"):
            run(anext(trigger.run()))

    def test_an_event_that_is_logged_does_not_show_its_content(self):
        event = MessageEvent(payload={"message_id": "m1", "body": "the-content"})
        assert repr(event) == str(event) == "MessageEvent<message_id='m1'>"
        stored = TypeAdapter(TriggerEvent).dump_python(event)
        assert stored["payload"]["body"] == "the-content"


def consumers(channel, queue):
    return channel.queue_declare(queue, passive=True).method.consumer_count
