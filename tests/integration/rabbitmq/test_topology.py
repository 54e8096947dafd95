"""The running broker is what rabbitmq/definitions.json says, and each account may do its part only.

Requests that are refused are refused by the broker, over AMQP, with 403 (ACCESS_REFUSED).
"""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from support.stack_env import needed

pytestmark = pytest.mark.stack

DECLARED = json.loads((Path(__file__).parents[3] / "rabbitmq" / "definitions.json").read_text())
QUEUES = [queue["name"] for queue in DECLARED["queues"]]
EXCHANGES = [exchange["name"] for exchange in DECLARED["exchanges"]]
RETRIES = [name for name in EXCHANGES if name.startswith("documents.retry.")]
DRAINED = ["invoice_queue", "medical_records_queue", "notification_queue"]
WORK = ["invoice_queue", "medical_records_queue", "notification_queue", "backup_requests_queue"]
ACCESS_REFUSED = 403
UNKNOWN_KEY = f"test.{secrets.token_hex(4)}"
OLD = pika.BasicProperties(expiration="0")


@pytest.fixture(scope="module")
def running() -> dict[str, Any]:
    """What the management API says the broker has."""
    answer = httpx.get(
        f"{needed('RABBITMQ_MANAGEMENT_URL')}/api/definitions",
        auth=(needed("RABBITMQ_ADMIN"), needed("RABBITMQ_ADMIN_PASSWORD")),
        timeout=20,
    )
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def comparable(rows: list[dict[str, Any]]) -> list[str]:
    """The rows, in an order of their own; a queue's type is told in two ways."""
    return sorted(
        json.dumps(
            {
                name: {key: each for key, each in value.items() if key != "x-queue-type"}
                if name == "arguments"
                else value
                for name, value in row.items()
                if name not in {"password_hash", "hashing_algorithm", "limits", "type"}
            },
            sort_keys=True,
        )
        for row in rows
    )


@pytest.mark.parametrize("kind", ["queues", "exchanges", "bindings", "policies", "permissions"])
def test_the_broker_has_what_is_declared_and_nothing_else(
    running: dict[str, Any], kind: str
) -> None:
    assert DECLARED[kind]
    # What a client made for itself, as long as it is connected, is nobody's topology.
    lasting = [
        row for row in running[kind] if row.get("durable", True) and not row.get("auto_delete")
    ]
    assert comparable(lasting) == comparable(DECLARED[kind])


def test_every_queue_is_kept_on_disk_by_a_quorum(running: dict[str, Any]) -> None:
    types = {queue["name"]: queue["arguments"]["x-queue-type"] for queue in running["queues"]}
    assert types == dict.fromkeys(QUEUES, "quorum")


def test_the_broker_has_the_declared_accounts_only(running: dict[str, Any]) -> None:
    def accounts(definitions: dict[str, Any]) -> dict[str, list[str]]:
        return {user["name"]: user["tags"] for user in definitions["users"]}

    assert accounts(running) == accounts(DECLARED)


def address(user: str) -> str:
    if user == "odoo":
        return needed("AMQP_ODOO_URL")
    if user == "airflow":
        return needed("AMQP_URL")
    names = {"administrator": "RABBITMQ_ADMIN_PASSWORD", "monitor": "RABBITMQ_MONITOR_PASSWORD"}
    server = urlsplit(needed("AMQP_URL"))
    return f"amqp://{user}:{needed(names[user])}@{server.hostname}:{server.port}/%2F"


class Account:
    """A channel of one account; after a refusal the broker has closed it, so each try gets one."""

    def __init__(self, user: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(address(user)))

    def may(self, action: str, name: str) -> bool:
        """Whether the broker lets this account do that; any other error is raised."""
        channel = self._connection.channel()
        try:
            getattr(self, action)(channel, name)
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code != ACCESS_REFUSED:
                raise
            return False
        channel.close()
        return True

    @staticmethod
    def publish(channel: BlockingChannel, exchange: str) -> None:
        """A message that no queue waits for, and that is too old where it arrives."""
        channel.confirm_delivery()
        channel.basic_publish(exchange, UNKNOWN_KEY, b"{}", OLD)

    @staticmethod
    def get(channel: BlockingChannel, queue: str) -> None:
        """Ask for a message and give it back: the channel is closed without an acknowledgement."""
        channel.basic_get(queue, auto_ack=False)

    @staticmethod
    def depth(channel: BlockingChannel, queue: str) -> None:
        channel.queue_declare(queue, passive=True)

    @staticmethod
    def declare(channel: BlockingChannel, queue: str) -> None:
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})

    @staticmethod
    def purge(channel: BlockingChannel, queue: str) -> None:
        channel.queue_purge(queue)

    @staticmethod
    def delete(channel: BlockingChannel, queue: str) -> None:
        channel.queue_delete(queue, if_empty=True, if_unused=True)

    def wait_for_delayed(self, count: int) -> None:
        """Take out what comes back from the retry queues: unrouted, for its key is unknown."""
        channel = self._connection.channel()
        for method, _, _ in channel.consume("documents.unrouted", inactivity_timeout=20):
            assert method, f"{count} more were to come back from the retry queues"
            if method.routing_key == UNKNOWN_KEY:
                channel.basic_ack(method.delivery_tag)
                count -= 1
            if not count:
                break
        channel.cancel()
        channel.close()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    """The account that the test's parameter names."""
    opened = Account(request.param)
    yield opened
    opened.close()


def allowed(account: Account, action: str, names: list[str]) -> set[str]:
    return {name for name in names if account.may(action, name)}


@pytest.mark.parametrize(
    ("account", "exchanges"),
    [
        ("odoo", {"documents_exchange", "backups_exchange"}),
        ("airflow", {"documents_exchange", "documents.dlx", *RETRIES}),
        ("monitor", set()),
    ],
    indirect=["account"],
)
def test_who_may_publish_where(account: Account, exchanges: set[str]) -> None:
    assert allowed(account, "publish", [*EXCHANGES, "amq.topic"]) == exchanges
    if exchanges > set(RETRIES):
        account.wait_for_delayed(len(RETRIES))


@pytest.mark.parametrize("user", ["odoo", "airflow"])
def test_a_producer_is_told_when_no_queue_is_bound(user: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(address(user)))
    channel = connection.channel()
    channel.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError):
        channel.basic_publish("documents_exchange", UNKNOWN_KEY, b"{}", mandatory=True)
    connection.close()


@pytest.mark.parametrize(
    ("account", "queues"),
    [
        ("odoo", set()),
        ("monitor", set()),
        (
            "airflow",
            {
                *WORK,
                *(f"{name}.parking" for name in WORK),
                *(f"{name}.killed" for name in DRAINED),
                "documents.unrouted",
            },
        ),
    ],
    indirect=["account"],
)
def test_who_may_read_what(account: Account, queues: set[str]) -> None:
    assert allowed(account, "get", QUEUES) == queues


@pytest.mark.parametrize("account", ["airflow"], indirect=True)
def test_the_drain_sees_how_full_the_queues_are(account: Account) -> None:
    watched = {
        *WORK,
        *(f"{name}.parking" for name in WORK),
        *(f"{name}.killed" for name in DRAINED),
    }
    assert allowed(account, "depth", sorted(watched)) == watched


@pytest.mark.parametrize("account", ["odoo", "airflow", "monitor"], indirect=True)
@pytest.mark.parametrize("action", ["declare", "delete"])
def test_only_an_administrator_changes_the_topology(account: Account, action: str) -> None:
    names = [f"test.{secrets.token_hex(4)}"] if action == "declare" else QUEUES
    assert allowed(account, action, names) == set()


@pytest.mark.parametrize("account", ["odoo", "monitor"], indirect=True)
def test_who_may_not_read_may_not_empty_a_queue(account: Account) -> None:
    assert allowed(account, "purge", QUEUES) == set()
