"""The sensor, on a worker and deferred, against a real broker."""

import threading

import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException, TaskDeferred
from rabbitmq_provider.errors import (
    LoginRefusedError,
    QueueNotFoundError,
    RabbitMQError,
    VirtualHostError,
)
from rabbitmq_provider.hooks.rabbitmq import RabbitMQHook
from rabbitmq_provider.sensors.rabbitmq import RabbitMQQueueSensor

pytestmark = pytest.mark.stack


@pytest.fixture
def sensor():
    """Makes sensors, and closes the connection of one that was only poked."""
    made = []

    def make(queue, conn_id="c", **arguments):
        settings = {"poll_interval_s": 0.05, "timeout": 30, **arguments}
        made.append(
            RabbitMQQueueSensor(task_id="wait", queue=queue, rabbitmq_conn_id=conn_id, **settings)
        )
        return made[-1]

    yield make
    for waiting in made:
        waiting._close()


def depth(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def publish(channel, queue, count=1):
    channel.confirm_delivery()
    for number in range(count):
        channel.basic_publish("", queue, f"message {number}".encode(), mandatory=True)


def test_on_a_worker_it_ends_with_the_first_message_and_leaves_it(
    sensor, broker, queue, conn_id, channel
):
    waiting = sensor(queue, conn_id, deferrable=False)
    polled = threading.Event()
    poke = waiting.poke

    def noting_poke(context):
        answer = poke(context)
        polled.set()
        return answer

    waiting.poke = noting_poke

    def send():
        assert polled.wait(10), "it asks first"
        outside = broker.channel()
        publish(outside, queue)
        outside.connection.close()

    sender = threading.Thread(target=send)
    sender.start()
    assert waiting.execute({}) == 1
    sender.join()
    assert depth(channel, queue) == 1, "nothing was consumed"


def test_deferrable_it_returns_at_once_if_the_queue_is_ready(sensor, queue, conn_id, channel):
    publish(channel, queue, 3)
    assert sensor(queue, conn_id, min_messages=3).execute({}) == 3
    assert depth(channel, queue) == 3


def test_deferrable_it_waits_in_the_triggerer(sensor, queue, conn_id, channel):
    publish(channel, queue)
    waiting = sensor(queue, conn_id, min_messages=2, only_when_no_consumers=True, timeout=77)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute({})
    assert deferred.value.timeout.total_seconds() == 77
    assert deferred.value.method_name == "execute_complete"
    path, arguments = deferred.value.trigger.serialize()
    assert path == "rabbitmq_provider.triggers.rabbitmq.RabbitMQQueueTrigger"
    assert arguments == {
        "queue_name": queue,
        "min_messages": 2,
        "only_when_no_consumers": True,
        "rabbitmq_conn_id": conn_id,
        "poll_interval_s": 0.05,
    }


def test_it_may_wait_until_nobody_reads(sensor, queue, conn_id, channel):
    channel.basic_qos(prefetch_count=1)
    publish(channel, queue, 3)
    tag = channel.basic_consume(queue, lambda *_: None)
    waiting = sensor(queue, conn_id, only_when_no_consumers=True, deferrable=False)
    assert not waiting.poke({})
    assert sensor(queue, conn_id).poke({}).is_done, "by default a reader is nothing to it"
    channel.basic_cancel(tag)
    assert waiting.execute({}) == 3, "what it held is back"


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_queue_that_does_not_exist_fails_even_softly(sensor, conn_id, deferrable):
    waiting = sensor("no-such-queue", conn_id, deferrable=deferrable, soft_fail=True)
    with pytest.raises(QueueNotFoundError, match="'no-such-queue'"):
        waiting.execute({})


def test_a_wrong_login_fails_at_once(sensor, queue, connection):
    with pytest.raises(LoginRefusedError):
        sensor(queue, connection(password="wrong")).execute({})


def test_a_time_that_is_up_skips_softly(sensor, queue, conn_id):
    with pytest.raises(AirflowSensorTimeout):
        sensor(queue, conn_id, deferrable=False, timeout=0.1).execute({})
    with pytest.raises(AirflowSkipException):
        sensor(queue, conn_id, deferrable=False, timeout=0.1, soft_fail=True).execute({})


def test_a_broker_that_goes_and_comes_is_waited_for(
    sensor, queue, line_conn_id, line, channel, caplog
):
    waiting = sensor(queue, line_conn_id, deferrable=False)
    assert not waiting.poke({})
    line.cut()
    assert not waiting.poke({}), "a broker that is gone is no failure"
    assert "Trying again in 1 s" in caplog.text
    assert caplog.text.count("Trying again") == 1
    assert not waiting.poke({}), "not asked again before the pause is over"
    assert caplog.text.count("Trying again") == 1
    line.mend()
    publish(channel, queue)
    assert waiting.execute({}) == 1
    assert "answers again" in caplog.text


def test_a_virtual_host_that_was_open_may_be_down_while_the_broker_starts(
    sensor, queue, conn_id, monkeypatch, caplog
):
    waiting = sensor(queue, conn_id)
    with monkeypatch.context() as broken:
        broken.setattr(RabbitMQHook, "queue_depth", raising(VirtualHostError("is down")))
        with pytest.raises(VirtualHostError):
            waiting.poke({})
    assert not waiting.poke({})
    monkeypatch.setattr(RabbitMQHook, "queue_depth", raising(VirtualHostError("is down")))
    assert not waiting.poke({})
    assert "is down Trying again" in caplog.text


def raising(error):
    def raise_it(*_):
        raise error

    return raise_it


def test_a_broker_that_is_away_at_the_start_is_waited_for_in_the_triggerer(
    sensor, queue, line_conn_id, line
):
    line.cut()
    with pytest.raises(TaskDeferred):
        sensor(queue, line_conn_id).execute({})


def test_after_the_trigger_it_returns_the_messages_or_says_why_not(sensor):
    waiting = sensor("invoices")
    done = {"status": "success", "messages": 4, "consumers": 0}
    assert waiting.execute_complete({}, done) == 4
    with pytest.raises(RabbitMQError, match="the queue is not there"):
        waiting.execute_complete({}, {"status": "error", "message": "the queue is not there"})


def test_the_worker_queue_of_airflow_is_left_alone(sensor):
    assert sensor("invoices").queue == "default"
    assert sensor("invoices", worker_queue="big").queue == "big"
    assert sensor("invoices", worker_queue="big").queue_name == "invoices"


def test_waiting_for_no_message_is_refused(sensor):
    with pytest.raises(ValueError, match="min_messages"):
        sensor("invoices", min_messages=0)


def test_what_the_trigger_says_fails_the_task_even_softly(sensor):
    waiting = sensor("invoices", soft_fail=True)
    event = {"status": "error", "message": "the queue is not there"}
    with pytest.raises(RabbitMQError, match="the queue is not there"):
        waiting.resume_execution("execute_complete", {"event": event}, {})
