"""A broker's virtual host, a database, an Odoo and a store of a test's own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.draining import FolderOdoo, FolderStore, parcel_of, run
from support.shared_db import Database, created, migrated
from support.vhost import VirtualHost, virtual_host


@dataclass
class Rig:
    """Everything a drain stands between."""

    broker: VirtualHost
    database: Database
    odoo: FolderOdoo
    store: FolderStore

    def publish(self, *bodies: dict[str, Any], routing_key: str = "invoice.created") -> None:
        """Publish as Odoo does."""
        for body in bodies:
            content, properties = parcel_of(body)
            self.broker.publish("documents_exchange", routing_key, content, **properties)

    def drain(self, **options: Any) -> dict[str, int]:
        """Drain until the queue is empty; return what was done."""
        return run(
            self.broker.url, self.database.sync_url, self.odoo, self.store, **options
        ).as_dict()

    def take(self, queue: str) -> list[tuple[Any, bytes]]:
        """Take everything out of a queue: properties and body of each."""
        connection = self.broker.connect()
        channel = connection.channel()
        taken = []
        while True:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            if method is None:
                connection.close()
                return taken
            taken.append((properties, body))


@pytest.fixture(scope="session")
def template() -> Iterator[Database]:
    with migrated() as database:
        yield database


@pytest.fixture
def rig(template: Database, tmp_path: Path) -> Iterator[Rig]:
    with created(template.name) as database, virtual_host() as broker:
        yield Rig(broker, database, FolderOdoo(tmp_path / "odoo"), FolderStore(tmp_path / "store"))
