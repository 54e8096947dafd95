"""kill -9 at every step of a drain, and at random: nothing lost, nothing stored or told twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from support.cutting import close_connections, cut_off
from support.draining import QUEUE, STEPS, FolderOdoo, FolderStore, message, parcel_of, pdf, run
from support.processes import wait_until
from support.shared_db import Database, created, migrated
from support.stack_env import ROOT
from support.vhost import VirtualHost, virtual_host

pytestmark = pytest.mark.stack

DOCUMENTS = 300
DUPLICATES = 60


@pytest.fixture(scope="module")
def template() -> Iterator[Database]:
    with migrated() as database:
        yield database


class Rig:
    """A drain in a process of its own, and all that it stands between."""

    def __init__(self, broker: VirtualHost, database: Database, folder: Path) -> None:
        self.broker, self.database = broker, database
        self.odoo = FolderOdoo(folder / "odoo")
        self.store = FolderStore(folder / "store")

    def start(self, *die_at: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                sys.executable, "-m", "support.draining", self.broker.url,
                self.database.sync_url, str(self.odoo.folder), str(self.store.folder), *die_at,
            ],
            stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": f"{os.environ['PYTHONPATH']}:{ROOT / 'tests'}"},
        )  # fmt: skip

    def finish(self) -> dict[str, int]:
        """Drain what is left, undisturbed."""
        return run(self.broker.url, self.database.sync_url, self.odoo, self.store).as_dict()

    def offer(self, count: int) -> list[dict[str, object]]:
        bodies = []
        for number in range(count):
            content = pdf(f"invoice {number}")
            body = message(content, number=f"INV/2026/{number:05}")
            self.odoo.offer(body, content)
            bodies.append(body)
        return bodies

    def publish(self, bodies: list[dict[str, object]]) -> None:
        connection = self.broker.connect()
        channel = connection.channel()
        channel.confirm_delivery()
        for body in bodies:
            content, properties = parcel_of(body)
            channel.basic_publish(
                "documents_exchange", "invoice.created", content,
                pika.BasicProperties(**properties, delivery_mode=2), mandatory=True,
            )  # fmt: skip
        connection.close()

    def told(self) -> list[str]:
        """Take all notifications, and return the id of each message."""
        connection = self.broker.connect()
        channel = connection.channel()
        ids = []
        while True:
            method, _, body = channel.basic_get("notification_queue", auto_ack=True)
            if method is None:
                connection.close()
                return ids
            metadata = json.loads(body)["metadata"]
            assert metadata["event"] == "stored"
            ids.append(metadata["notification_id"])

    def check(self, wanted: int) -> None:
        """Every document is stored once and told under one id; no file is without a document."""
        rows = self.database.query("SELECT file_id, state FROM documents")
        assert Counter(row["state"] for row in rows) == {"stored": wanted}
        files = {path.name: path.read_bytes() for path in self.store.folder.iterdir()}
        assert files.keys() == {row["file_id"] for row in rows}
        assert len(set(files.values())) == wanted
        # Odoo knows a notification by its id: two messages under one are told once.
        assert len(set(self.told())) == wanted
        assert self.broker.depth(QUEUE) == 0
        assert self.broker.depth(f"{QUEUE}.parking") == 0


@pytest.fixture
def rig(template: Database, tmp_path: Path) -> Iterator[Rig]:
    with created(template.name) as database, virtual_host() as broker:
        yield Rig(broker, database, tmp_path)


@pytest.mark.parametrize("step", STEPS)
def test_a_drain_killed_at_a_step_is_made_good_by_the_next(rig: Rig, step: str) -> None:
    rig.publish(rig.offer(1))
    drain = rig.start(step)
    output, _ = drain.communicate(timeout=60)
    assert (drain.returncode, output.strip()) == (-signal.SIGKILL, step)
    rig.finish()
    rig.check(1)


@pytest.mark.parametrize("step", ["copying", "copied"])
@pytest.mark.parametrize("fate", ["parked", "retried"])
def test_a_drain_killed_on_the_way_to_a_copy_loses_nothing(rig: Rig, fate: str, step: str) -> None:
    (body,) = rig.offer(1)
    original = rig.odoo.folder / str(body["document_id"])
    original.unlink()
    if fate == "retried":
        original.mkdir()  # cannot be read, now; a file that is not there is gone for good
    rig.publish([body])
    drain = rig.start(step)
    output, _ = drain.communicate(timeout=60)
    assert (drain.returncode, output.strip()) == (-signal.SIGKILL, step)
    wait_until(lambda: rig.broker.depth(QUEUE) == 1, "the message returns to its queue")
    assert rig.finish()[fate] == 1
    copies = f"{QUEUE}.parking" if fate == "parked" else "documents.retry.1"
    assert rig.broker.depth(copies) == (2 if step == "copied" else 1)
    told = rig.database.query("SELECT kind FROM outbox WHERE sent_at IS NOT NULL")
    assert [row["kind"] for row in told] == ["parked" if fate == "parked" else "retrying"]


def test_300_documents_survive_random_kills(rig: Rig) -> None:
    """The worker is killed, or the broker or the database ends its connections."""
    bodies = rig.offer(DOCUMENTS)
    rng = random.Random(20261124)
    messages = bodies + rng.sample(bodies, DUPLICATES)
    rng.shuffle(messages)
    rig.publish(messages)
    plan = ["worker"] * 5 + ["database"] * 4 + ["broker"] * 3
    rng.shuffle(plan)
    cut: Counter[str] = Counter()
    for what in plan:
        drain = rig.start()
        goal = min(DOCUMENTS, _stored(rig) + rng.randint(1, 8))
        while drain.poll() is None and _stored(rig) < goal:
            time.sleep(0.01)
        if drain.poll() is None:
            if cut_off(what, rig.broker, rig.database):
                cut[what] += 1
            else:  # or the broker, which learns of connections with delay, knows of none yet
                drain.kill()
                cut["worker"] += 1
        drain.communicate(timeout=60)
        assert drain.returncode in {0, 1, -signal.SIGKILL}
    rig.finish()
    assert cut["worker"] >= 2
    assert cut["database"] >= 1
    rig.check(DOCUMENTS)


def test_a_drain_whose_broker_hangs_up_ends_and_the_next_goes_on(rig: Rig) -> None:
    rig.publish(rig.offer(200))
    drain = rig.start()
    wait_until(lambda: _stored(rig) > 5, "it works")
    wait_until(lambda: close_connections(rig.broker) > 0 or drain.poll() is not None, "cut off")
    drain.communicate(timeout=60)
    rig.finish()
    rig.check(200)


def _stored(rig: Rig) -> int:
    count: int = rig.database.value("SELECT count(*) FROM documents WHERE state = 'stored'")
    return count
