"""The operator against a real broker."""

import json
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from rabbitmq_provider.errors import UnroutableError
from rabbitmq_provider.operators.rabbitmq import RabbitMQPublishOperator

pytestmark = pytest.mark.stack


def context(map_index=-1):
    ti = SimpleNamespace(dag_id="d", task_id="tell", run_id="manual__1", map_index=map_index)
    return {"ti": ti, "who": "Ana"}


def operator(queue, conn_id, **arguments):
    with DAG("d", schedule=None):
        return RabbitMQPublishOperator(
            task_id="tell", routing_key=queue, rabbitmq_conn_id=conn_id, **arguments
        )


def test_it_publishes_what_the_templates_render_to(channel, queue, conn_id):
    task = operator("{{ queue }}", conn_id, body={"to": "{{ who }}"}, headers={"x-to": "{{ who }}"})
    task.render_template_fields(context() | {"queue": queue})
    assert task.execute(context()) == "d.tell.manual__1"
    _, properties, body = channel.basic_get(queue, auto_ack=True)
    assert json.loads(body) == {"to": "Ana"}
    assert properties.headers == {"x-to": "Ana"}
    assert properties.content_type == "application/json"
    assert properties.message_id == "d.tell.manual__1"


def test_a_retry_sends_the_same_message_id_and_another_index_another(queue, conn_id):
    task = operator(queue, conn_id, body="text")
    assert task.execute(context()) == task.execute(context())
    assert task.execute(context(map_index=3)) == "d.tell.3.manual__1"


def test_an_id_and_a_type_may_be_given(channel, queue, conn_id):
    task = operator(queue, conn_id, body="<a/>", message_id="m", content_type="text/xml")
    assert task.execute(context()) == "m"
    _, properties, _ = channel.basic_get(queue, auto_ack=True)
    assert (properties.message_id, properties.content_type) == ("m", "text/xml")


def test_a_message_nobody_gets_fails_the_task(conn_id):
    with pytest.raises(UnroutableError):
        operator("no-such-queue", conn_id, body="text").execute(context())


def test_the_log_names_the_message_and_not_its_content(queue, conn_id, caplog):
    caplog.set_level("INFO")
    operator(queue, conn_id, body="the-content").execute(context())
    assert "d.tell.manual__1" in caplog.text
    assert "the-content" not in caplog.text
