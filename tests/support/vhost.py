"""A virtual host of a test's own, with the documents' queues, on the running broker."""

import contextlib
import json
import uuid
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import httpx
import pika
from support.stack_env import ROOT, needed


class VirtualHost:
    """Queues and exchanges as rabbitmq/definitions.json has them."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def url(self) -> str:
        """Its address, as the user `airflow`, with only that user's rights."""
        path = f"/{quote(self.name, safe='')}"
        return urlsplit(needed("AMQP_URL"))._replace(path=path).geturl()

    def connect(self) -> pika.BlockingConnection:
        """Open a connection."""
        return pika.BlockingConnection(pika.URLParameters(self.url))

    @property
    def admin_url(self) -> str:
        """Its address, as the administrator, who may change the topology."""
        name = needed("RABBITMQ_ADMIN")
        auth = name, needed("RABBITMQ_ADMIN_PASSWORD")
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        with httpx.Client(
            base_url=f"{needed('RABBITMQ_MANAGEMENT_URL')}/api", auth=auth, trust_env=False
        ) as http:
            http.put(f"/permissions/{self.name}/{name}", json=everything).raise_for_status()
        server = urlsplit(self.url)
        login = ":".join(quote(part, safe="") for part in auth)
        return server._replace(netloc=f"{login}@{server.hostname}:{server.port}").geturl()

    def administrator(self) -> pika.adapters.blocking_connection.BlockingChannel:
        """Open a channel that may change the topology."""
        return pika.BlockingConnection(pika.URLParameters(self.admin_url)).channel()

    def publish(
        self, exchange: str, routing_key: str, *bodies: bytes, **properties: object
    ) -> None:
        """Publish, and wait until the broker has all."""
        connection = self.connect()
        channel = connection.channel()
        channel.confirm_delivery()
        for number, body in enumerate(bodies):
            channel.basic_publish(
                exchange,
                routing_key,
                body,
                pika.BasicProperties(
                    **{"message_id": f"m{number}", "delivery_mode": 2} | properties
                ),
                mandatory=True,
            )
        connection.close()

    def depth(self, queue: str) -> int:
        """How many messages are ready."""
        connection = self.connect()
        count = connection.channel().queue_declare(queue, passive=True).method.message_count
        connection.close()
        return int(count)


@contextlib.contextmanager
def virtual_host() -> Iterator[VirtualHost]:
    """Make a virtual host with the documents' definitions; remove it at the end."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    auth = needed("RABBITMQ_ADMIN"), needed("RABBITMQ_ADMIN_PASSWORD")
    definitions = json.loads((ROOT / "rabbitmq" / "definitions.json").read_text())
    definitions.pop("users")
    definitions["vhosts"] = [{"name": name}]
    for kind in ("permissions", "policies", "queues", "exchanges", "bindings"):
        for entry in definitions[kind]:
            entry["vhost"] = name
    with httpx.Client(
        base_url=f"{needed('RABBITMQ_MANAGEMENT_URL')}/api", auth=auth, timeout=60, trust_env=False
    ) as http:
        http.put(f"/vhosts/{name}").raise_for_status()
        try:
            http.post("/definitions", json=definitions).raise_for_status()
            yield VirtualHost(name)
        finally:
            http.delete(f"/vhosts/{name}")
