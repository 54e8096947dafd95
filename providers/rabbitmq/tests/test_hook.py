"""The hook against a real broker."""

import asyncio
import json
import logging

import pika
import pytest
from airflow.sdk import Connection
from rabbitmq_provider.errors import (
    AccessRefusedError,
    BrokerUnavailableError,
    LoginRefusedError,
    NotConfirmedError,
    NotFoundError,
    QueueNotFoundError,
    SettingsError,
    TLSError,
    UnroutableError,
    VirtualHostError,
)
from rabbitmq_provider.hooks.rabbitmq import QueueDepth, RabbitMQHook
from rabbitmq_provider.settings import ConnectionSettings

pytestmark = pytest.mark.stack

SECRET = "the-content-of-a-message"


@pytest.fixture
def hook(conn_id):
    with RabbitMQHook(conn_id) as hook:
        yield hook


def test_a_published_message_is_persistent_and_has_an_id(hook, channel, queue):
    message_id = hook.publish("", queue, {"número": 1})
    _, properties, body = channel.basic_get(queue, auto_ack=True)
    assert json.loads(body) == {"número": 1}
    assert properties.message_id == message_id
    assert (properties.delivery_mode, properties.content_type) == (2, "application/json")


@pytest.mark.parametrize(
    ("body", "content_type"), [("año", "text/plain"), (b"\xff", "application/octet-stream")]
)
def test_text_and_bytes_are_sent_as_they_are(hook, channel, queue, body, content_type):
    hook.publish("", queue, body)
    _, properties, received = channel.basic_get(queue, auto_ack=True)
    assert received == (body.encode() if isinstance(body, str) else body)
    assert properties.content_type == content_type


def test_given_properties_are_sent_and_not_changed(hook, channel, queue):
    given = pika.BasicProperties(message_id="m1", delivery_mode=1, headers={"x-attempt": 2})
    assert hook.publish("", queue, "text", properties=given) == "m1"
    _, properties, _ = channel.basic_get(queue, auto_ack=True)
    assert (properties.delivery_mode, properties.headers) == (1, {"x-attempt": 2})
    assert given.content_type is None


def test_a_message_without_a_queue_is_an_error_that_does_not_show_it(hook):
    with pytest.raises(UnroutableError, match="no queue is bound to exchange ''") as raised:
        hook.publish("", "no-such-queue", SECRET)
    assert SECRET not in repr(raised.value)
    assert raised.value.__cause__ is None


def test_an_exchange_that_does_not_exist_is_named(hook, queue):
    with pytest.raises(NotFoundError, match=r"exchange 'nowhere'.*does not exist") as raised:
        hook.publish("nowhere", queue, SECRET)
    assert SECRET not in str(raised.value)
    assert hook.publish("", queue, "the hook still works")


def test_a_full_queue_is_not_a_success(hook, channel):
    full = channel.queue_declare(
        "", exclusive=False, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
    ).method.queue
    hook.publish("", full, "first")
    with pytest.raises(NotConfirmedError, match="full") as raised:
        hook.publish("", full, "second")
    assert raised.value.transient
    channel.queue_delete(full)


def test_the_depth_counts_messages_and_consumers(hook, channel, queue):
    assert hook.queue_depth(queue) == QueueDepth(0, 0)
    hook.publish("", queue, "one")
    hook.publish("", queue, "two")
    assert hook.queue_depth(queue) == QueueDepth(messages=2, consumers=0)
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, lambda *_: None)
    assert hook.queue_depth(queue).consumers == 1


def test_a_queue_that_does_not_exist_is_named_and_the_hook_goes_on(hook, queue):
    with pytest.raises(QueueNotFoundError, match=r"queue 'no-such-queue'.*does not exist"):
        hook.queue_depth("no-such-queue")
    assert hook.queue_depth(queue) == QueueDepth(0, 0)


def test_a_permission_that_lacks_is_said(hook, channel):
    channel.exchange_declare("inside", "direct", internal=True)
    with pytest.raises(AccessRefusedError, match="does not permit"):
        hook.publish("inside", "key", "text")
    channel.exchange_delete("inside")


def test_the_shared_connection_is_opened_again_after_it_was_lost(line_conn_id, line, queue):
    with RabbitMQHook(line_conn_id) as hook:
        hook.publish("", queue, "before")
        line.cut()
        line.mend()
        hook.publish("", queue, "after")
        assert hook.queue_depth(queue).messages == 2
        line.cut()
        with pytest.raises(BrokerUnavailableError, match="Is RabbitMQ running"):
            hook.queue_depth(queue)


def test_every_connection_handed_out_is_a_new_one(hook):
    first, second = hook.get_conn(), hook.get_conn()
    try:
        assert first is not second
        assert isinstance(first, pika.BlockingConnection)
    finally:
        first.close()
        second.close()


def test_the_test_button_says_who_and_where(connection, broker):
    assert RabbitMQHook(connection()).test_connection() == (
        True,
        f"Logged in at amqp://{broker.host}:{broker.port} as {broker.login}, virtual host "
        f"{broker.virtual_host}",
    )


WRONG = {
    "refused": ({"port": 1}, BrokerUnavailableError, "(?i)connect.*Is RabbitMQ running"),
    "host": ({"host": "nowhere.invalid"}, BrokerUnavailableError, "not known"),
    "login": ({"login": "nobody"}, LoginRefusedError, "refused login 'nobody'"),
    "password": ({"password": "wrong-password"}, LoginRefusedError, "Correct login or password"),
    "virtual host": ({"schema": "nope"}, VirtualHostError, "virtual host 'nope' does not exist"),
    "TLS": ({"extra": {"ssl": True}}, TLSError, "does not speak TLS"),
    "ca_file": ({"extra": {"ssl": True, "ca_file": "/none.pem"}}, TLSError, "'/none.pem'"),
}


@pytest.mark.parametrize(("fields", "error", "text"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(connection, caplog, fields, error, text):
    caplog.set_level(logging.DEBUG)
    hook = RabbitMQHook(connection(**fields))
    with pytest.raises(error, match=text) as raised:
        hook.get_conn()
    ok, message = hook.test_connection()
    assert not ok
    assert message == str(raised.value)
    with pytest.raises(error, match=text):
        asyncio.run(hook.get_async_conn())
    password = hook.settings.password
    for shown in (message, repr(hook.settings), repr(vars(hook)), caplog.text):
        assert password not in shown


def test_tls_needs_the_authority_of_the_certificate(connection, tls, queue):
    line, authority = tls
    fields = {"host": "localhost", "port": line.port}
    hook = RabbitMQHook(connection(**fields, extra={"ssl": True}))
    for connect in (hook.get_conn, lambda: asyncio.run(hook.get_async_conn())):
        with pytest.raises(TLSError, match=r"not trusted.*ca_file"):
            connect()
    extra = {"ssl": "true", "ca_file": str(authority)}
    with RabbitMQHook(connection(**fields, extra=extra)) as hook:
        assert hook.test_connection()[0], hook.test_connection()[1]
        assert hook.publish("", queue, "by TLS")

    async def open_and_close():
        await (await RabbitMQHook(connection(**fields, extra=extra)).get_async_conn()).close()

    asyncio.run(open_and_close())


def test_a_plain_client_at_a_tls_port_is_told(connection, tls):
    line, _ = tls
    hook = RabbitMQHook(connection(host="localhost", port=line.port))
    with pytest.raises(BrokerUnavailableError, match="host, port and TLS"):
        hook.get_conn()


def test_content_and_password_are_in_no_log(connection, caplog, queue):
    caplog.set_level(logging.INFO)
    with RabbitMQHook(connection()) as hook:
        hook.publish("", queue, SECRET)
        password = hook.settings.password
    assert SECRET not in caplog.text
    assert password not in caplog.text


def settings_of(**fields: object) -> ConnectionSettings:
    connection = Connection(conn_id="c", conn_type="rabbitmq", **fields)
    return ConnectionSettings.from_connection(connection)


def test_fields_left_out_have_defaults():
    plain = settings_of(host="h", login="l", password="p")
    assert (plain.port, plain.virtual_host, plain.ssl) == (5672, "/", False)
    assert (plain.heartbeat_s, plain.timeout_s) == (60, 10)
    assert settings_of(host="h", login="l", password="p", extra='{"ssl": true}').port == 5671


def test_a_uri_says_the_same():
    uri = "rabbitmq://l:p@h:5673/%2Fclinic?ssl=true&heartbeat_s=5"
    settings = ConnectionSettings.from_connection(Connection.from_uri(uri, conn_id="c"))
    assert settings.virtual_host == "/clinic"
    assert (settings.ssl, settings.heartbeat_s, settings.port) == (True, 5, 5673)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"login": "l", "password": "p"}, "has no host"),
        ({"host": "h"}, "no login and no password"),
        ({"host": "h", "login": "l", "password": "p", "extra": '{"ssl": "maybe"}'}, "'maybe'"),
        ({"host": "h", "login": "l", "password": "p", "extra": '{"timeout_s": "x"}'}, "numbers"),
    ],
)
def test_a_connection_that_lacks_something_says_so(fields, text):
    with pytest.raises(SettingsError, match=text):
        settings_of(**fields)


def test_the_form_has_the_names_of_rabbitmq():
    behaviour = RabbitMQHook.get_ui_field_behaviour()
    assert behaviour["relabeling"] == {"schema": "Virtual host"}
    assert behaviour["placeholders"]["schema"] == "/"
