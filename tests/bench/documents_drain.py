"""How fast documents are drained, beside a Celery worker and beside a plain consumer.

Writes build/bench/documents.json. All take messages from the same broker, download from the same
folder, check each PDF and store it in the same kind of folder. The drain and the Celery worker also
keep every step in the shared database and publish a notification for each document; the plain
consumer promises nothing and only acknowledges. The last part drains while worker, broker
connections and database sessions are cut at random, and counts what was lost or doubled.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pika
from clinic.clients.broker_queue import BrokerQueue
from clinic.documents.check import check_file
from clinic.documents.drain import WORKERS
from clinic.documents.message import parse
from clinic.documents.pdf import PdfOpener
from clinic.documents.store import Upload

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.cutting import cut_off  # noqa: E402
from support.draining import QUEUE, FolderOdoo, FolderStore, message, parcel_of, pdf, run  # noqa: E402
from support.shared_db import Database, created, migrated  # noqa: E402
from support.vhost import VirtualHost, virtual_host  # noqa: E402


def publish(broker: VirtualHost, odoo: FolderOdoo, count: int, duplicates: int = 0) -> None:
    """Offer documents and publish a message for each, and a second one for some."""
    bodies = []
    for number in range(count):
        content = pdf(f"invoice {number}")
        bodies.append(message(content, number=f"INV/2026/{number:05}"))
        odoo.offer(bodies[-1], content)
    messages = bodies + random.Random(1).sample(bodies, duplicates)
    random.Random(2).shuffle(messages)
    for body in messages:
        content, properties = parcel_of(body)
        broker_channel(broker).basic_publish(
            "documents_exchange",
            "invoice.created",
            content,
            pika.BasicProperties(**properties, delivery_mode=2),
            mandatory=True,
        )


_channels: dict[str, Any] = {}


def broker_channel(broker: VirtualHost) -> Any:
    """A channel with confirms, kept."""
    if broker.name not in _channels:
        _channels[broker.name] = broker.connect().channel()
        _channels[broker.name].confirm_delivery()
    return _channels[broker.name]


def drained(database: Database, folder: Path, count: int) -> dict[str, float]:
    """Drain undisturbed; return the rate."""
    odoo, store = FolderOdoo(folder / "odoo"), FolderStore(folder / "store")
    with virtual_host() as broker:
        publish(broker, odoo, count)
        began_at = database.value("SELECT now()")
        summary = run(broker.url, database.sync_url, odoo, store)
        assert summary.stored == summary.told == count
    return {"documents": count, "per_s": rate_since(database, began_at, count)}


def rate_since(database: Database, began_at: datetime, count: int) -> float:
    """How many documents a second were stored, from the first to the last."""
    rows = database.query(
        "SELECT count(*), extract(epoch FROM max(stored_at) - min(stored_at))::float AS seconds"
        " FROM documents WHERE state = 'stored' AND stored_at >= %s",
        began_at,
    )
    assert rows[0]["count"] == count
    return round(count / rows[0]["seconds"], 1)


def by_celery(database: Database, folder: Path, count: int, processes: int) -> dict[str, float]:
    """Have a Celery worker do the same; return the rate."""
    odoo = FolderOdoo(folder / "odoo")
    FolderStore(folder / "store")
    with virtual_host() as broker:
        began_at = database.value("SELECT now()")
        environment = {
            "BENCH_BROKER": broker.admin_url,
            "BENCH_AMQP": broker.url,
            "BENCH_DATABASE": database.sync_url,
            "BENCH_FOLDER": str(folder),
        }
        os.environ.update(environment)
        import celery_worker  # reads where everything is

        celery_worker.app.conf.broker_url = broker.admin_url
        with celery_worker.app.producer_pool.acquire(block=True) as producer:
            for number in range(count):
                content = pdf(f"invoice {number}")
                body = message(content, number=f"INV/2026/{number:05}")
                odoo.offer(body, content)
                celery_worker.store.apply_async([json.dumps(body)], producer=producer)
        celery_worker.app.close()
        worker = subprocess.Popen(
            [
                sys.executable, "-m", "celery", "-A", "celery_worker", "worker",
                "--loglevel=WARNING", f"--concurrency={processes}", "--without-gossip",
                "--without-mingle", "--without-heartbeat",
            ],
            cwd=ROOT / "tests" / "bench",
            env=os.environ | {"C_FORCE_ROOT": "1"},
        )  # fmt: skip
        try:
            stored, limit = 0, time.monotonic() + 600
            while stored < count:
                assert worker.poll() is None, "the Celery worker ended"
                assert time.monotonic() < limit, f"{stored} of {count} after 10 minutes"
                time.sleep(0.5)
                stored = database.value(
                    "SELECT count(*) FROM documents WHERE state = 'stored' AND stored_at >= %s",
                    began_at,
                )
        finally:
            worker.terminate()
            worker.wait(60)
        assert broker.depth("notification_queue") == count
    return {
        "documents": count,
        "processes": processes,
        "per_s": rate_since(database, began_at, count),
    }


def consumed(folder: Path, count: int) -> dict[str, float]:
    """Do the same work in a plain consumer; return the rate."""
    odoo, store = FolderOdoo(folder / "odoo"), FolderStore(folder / "store")
    spooled = folder / "spooled"
    with virtual_host() as broker, closing(PdfOpener()) as pdfs:
        publish(broker, odoo, count)
        began = time.perf_counter()
        with closing(BrokerQueue(broker.connect, QUEUE)) as queue:
            done = 0
            while done < count:
                for parcel in queue.batch(6, 5):
                    document = parse(parcel.routing_key, parcel.body)
                    odoo.download(document.file_path, spooled, document.metadata.size_bytes)
                    check_file(spooled, document, pdfs)
                    store.put(
                        Upload(
                            document_id=document.document_id,
                            revision=document.revision,
                            document_type=document.document_type,
                            file_name=document.metadata.file_name,
                            content_type=document.metadata.content_type,
                            path=spooled,
                            size_bytes=document.metadata.size_bytes,
                            sha256=document.metadata.sha256,
                            date=document.metadata.date,
                            reserved_id=document.document_id,
                        )
                    )
                    queue.ack(parcel)
                    done += 1
        seconds = time.perf_counter() - began
    return {"documents": count, "per_s": round(count / seconds, 1)}


def killed(database: Database, folder: Path, count: int) -> dict[str, Any]:
    """Drain while worker and connections are cut at random; return what was lost or doubled."""
    odoo, store = FolderOdoo(folder / "odoo"), FolderStore(folder / "store")
    rng = random.Random(20261124)
    cut = dict.fromkeys(("worker", "broker", "database"), 0)

    def stored_documents() -> int:
        return int(database.value("SELECT count(*) FROM documents WHERE state = 'stored'"))

    before = stored_documents()
    with virtual_host() as broker:
        publish(broker, odoo, count, duplicates=count // 10)
        began = time.perf_counter()
        stored = 0
        while stored < count:
            drain = subprocess.Popen(
                [
                    sys.executable, "-m", "support.draining", broker.url, database.sync_url,
                    str(odoo.folder), str(store.folder),
                ],
                stderr=subprocess.DEVNULL,  # how a drain that was cut off ends
                env=os.environ
                | {"PYTHONPATH": f"{os.environ['PYTHONPATH']}:{ROOT / 'tests'}"},
            )  # fmt: skip
            goal = before + stored + rng.randint(50, 400)
            while drain.poll() is None and stored_documents() < goal:
                time.sleep(0.02)
            if drain.poll() is None:
                what = rng.choice(["worker", "worker", "broker", "database"])
                if not cut_off(what, broker, database):
                    what = "worker"
                    drain.send_signal(signal.SIGKILL)
                cut[what] += 1
                stored = stored_documents()
                try:
                    drain.wait(10)
                except subprocess.TimeoutExpired:  # what was cut was a killed drain's
                    assert stored_documents() > stored, "it neither ends nor goes on"
                    drain.send_signal(signal.SIGKILL)
                    drain.wait()
            stored = stored_documents() - before
        seconds = time.perf_counter() - began
        run(broker.url, database.sync_url, odoo, store)
        told = set()
        connection = broker.connect()
        channel = connection.channel()
        while (taken := channel.basic_get("notification_queue", auto_ack=True))[0] is not None:
            told.add(json.loads(taken[2])["metadata"]["notification_id"])
        connection.close()
        parked = broker.depth(f"{QUEUE}.parking") + broker.depth(f"{QUEUE}.killed")
    files = len(list(store.folder.iterdir()))
    return {
        "documents": count,
        "duplicates_injected": count // 10,
        "cut": cut,
        "lost": count - stored,
        "stored_twice": files - count,
        "told_twice": len(told) - count,
        "parked": parked,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Measure, and keep the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--documents", type=int, default=10_000, help="drained under kill -9")
    options.add_argument("--rate", type=int, default=2_000, help="drained for the rates")
    asked = options.parse_args()
    with migrated() as template, created(template.name) as database:
        with tempfile.TemporaryDirectory() as folder:
            drain = drained(database, Path(folder), asked.rate)
        with tempfile.TemporaryDirectory() as folder:
            celery = by_celery(database, Path(folder), asked.rate, processes=WORKERS)
        with tempfile.TemporaryDirectory() as folder:
            plain = consumed(Path(folder), asked.rate)
        faults: dict[str, Any] = {}
        if asked.documents:
            with tempfile.TemporaryDirectory() as folder:
                faults = killed(database, Path(folder), asked.documents)
    figures = {
        "cores": os.cpu_count(),
        "drain": drain,
        "celery_worker": celery,
        "plain_pika_consumer": plain,
        "ratio_to_celery": round(drain["per_s"] / celery["per_s"], 3),
        "celery_to_drain": round(celery["per_s"] / drain["per_s"], 3),
        "ratio_to_plain": round(drain["per_s"] / plain["per_s"], 3),
        "killed": faults,
    }
    target = ROOT / "build" / "bench" / "documents.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
