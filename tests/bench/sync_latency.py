"""How long from a commit in Odoo to the row in clinica_shared, and how long full loads take.

Run with the stack's servers up: ``python tests/bench/sync_latency.py``. Writes
``build/bench/inventory.json``. Where a mirror runs already (the DAG), it measures that one; else it
starts its own. Odoo's quants are written by SQL, as its own merges do, so that the writer's time is
the commit's and not the ORM's; they are put back at the end.

The gap between two runs of the DAG is in ``--gap``: 10 changes/s for so many seconds, of which the
slowest is the gap.
"""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
from clinic.clients.locks import MIRROR_LOCK
from clinic.clients.odoo import OdooClient
from clinic.clients.odoo_feed import OdooFeed
from clinic.clients.shared_db import SharedDb
from clinic.inventory.mirror import InventoryMirror
from clinic.inventory.reconcile import reconcile

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support.stack_env import needed, stack_env  # noqa: E402

FIRST = 5_000_000  # quantities that no clinic has: each names the change that wrote it


def percentiles(milliseconds: list[float]) -> dict[str, float]:
    ordered = sorted(milliseconds)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2)

    return {
        "p50_ms": at(0.50),
        "p95_ms": at(0.95),
        "p99_ms": at(0.99),
        "max_ms": round(ordered[-1], 2),
    }


class Observer(threading.Thread):
    """Notes when each change becomes visible to another connection of the shared database."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen_at: dict[int, float] = {}
        self.newest = FIRST - 1
        self.stopping = threading.Event()
        self.ready = threading.Event()

    def run(self) -> None:
        url = needed("SHARED_DB_API_URL")
        with (
            psycopg.connect(url, autocommit=True) as ear,
            psycopg.connect(url, autocommit=True) as eye,
        ):
            ear.execute("LISTEN clinica_events")
            self.ready.set()
            while not self.stopping.is_set():
                for _ in ear.notifies(timeout=0.2, stop_after=1):
                    self.look(eye)

    def look(self, eye: psycopg.Connection[Any]) -> None:
        row = eye.execute(
            "SELECT max(quantity) FROM shared_stock_levels WHERE quantity > %s", (self.newest,)
        ).fetchone()
        now = time.perf_counter()
        if row and row[0] is not None:
            # One writer commits one change after the other: what is older is visible too.
            for number in range(self.newest + 1, int(row[0]) + 1):
                self.seen_at[number] = now
            self.newest = int(row[0])


@contextlib.contextmanager
def writable_quants(count: int) -> Iterator[tuple[psycopg.Connection[Any], list[int]]]:
    """Yield Odoo's database and quants alone in their key; put their quantities back afterwards."""
    with psycopg.connect(needed("ODOO_DB_URL"), autocommit=True) as odoo:
        rows = odoo.execute(
            """
            SELECT min(q.id), min(q.quantity) FROM stock_quant AS q
            JOIN stock_location AS l ON l.id = q.location_id AND l.usage = 'internal'
            GROUP BY q.product_id, q.location_id, q.lot_id HAVING count(*) = 1
            ORDER BY 1 LIMIT %s
            """,
            (count,),
        ).fetchall()
        if not rows:
            raise SystemExit("Odoo holds no stock: run `clinic demo load` first.")
        try:
            yield odoo, [row[0] for row in rows]
        finally:
            with odoo.cursor() as cursor:
                cursor.executemany(
                    "UPDATE stock_quant SET quantity = %s WHERE id = %s",
                    [(quantity, quant) for quant, quantity in rows],
                )


def measure(rate: float, seconds: float, observer: Observer, first: int) -> dict[str, Any]:
    """Write ``rate`` changes a second, each in its own transaction, and wait until all are seen."""
    committed: dict[int, float] = {}
    with writable_quants(200) as (odoo, quants):
        begin = time.perf_counter()
        number = first
        while (due := begin + (number - first) / rate) < begin + seconds:
            time.sleep(max(0.0, due - time.perf_counter()))
            odoo.execute(
                "UPDATE stock_quant SET quantity = %s WHERE id = %s",
                (number, quants[number % len(quants)]),
            )
            committed[number] = time.perf_counter()
            number += 1
        give_up_at = time.monotonic() + 30
        while observer.newest < number - 1 and time.monotonic() < give_up_at:
            time.sleep(0.05)
    lost = [each for each in committed if each not in observer.seen_at]
    lags = [(observer.seen_at[n] - at) * 1000 for n, at in committed.items() if n not in lost]
    return {"changes": len(committed), "never_seen": len(lost)} | percentiles(lags)


def mirror_is_running() -> bool:
    with psycopg.connect(needed("SHARED_DB_SYNC_URL")) as connection:
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND (classid::bigint << 32) + objid::bigint = %s)",
            (MIRROR_LOCK,),
        ).fetchone()
    return bool(row and row[0])


@contextlib.contextmanager
def a_mirror() -> Iterator[tuple[str, psutil.Process | None]]:
    """Yield who mirrors, and our own process when it is ours."""
    if mirror_is_running():
        yield "the one that ran already", None
        return
    command = [sys.executable, "-m", "clinic.cli", "sync", "--seconds", "3600"]
    environment = os.environ | stack_env() | {"PYTHONPATH": str(ROOT / "include")}
    log = ROOT / "build" / "bench" / "mirror.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            while not mirror_is_running():
                if process.poll() is not None:
                    raise SystemExit(f"The mirror ended: {log.read_text()}")
                time.sleep(0.1)
            time.sleep(3)  # a first full load, and its stream
            yield "a process of this bench", psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


def clients() -> tuple[OdooClient, OdooFeed]:
    database, key = needed("ODOO_DB"), needed("ODOO_FEED_API_KEY")
    odoo = OdooClient.connect(needed("ODOO_URL"), database=database, api_key=key)
    evented = needed("ODOO_EVENTED_URL")
    return odoo, OdooFeed.connect(needed("ODOO_URL"), evented, database=database, api_key=key)


def full_loads(quants: int) -> dict[str, Any]:
    """Load ``quants`` quants anew, and reconcile them."""
    odoo_client, feed = clients()
    with psycopg.connect(needed("ODOO_DB_URL"), autocommit=True) as odoo:
        have = odoo.execute("SELECT count(*) FROM stock_quant").fetchone()
        assert have is not None
        odoo.execute(
            """
            WITH product AS (
                SELECT p.id, row_number() OVER (ORDER BY p.id) AS number
                FROM product_product AS p JOIN product_template AS t ON t.id = p.product_tmpl_id
                WHERE t.is_storable AND p.active
            ), lot AS (
                INSERT INTO stock_lot (name, product_id, company_id, create_date, write_date)
                SELECT 'bench ' || n, product.id, (SELECT min(id) FROM res_company), now(), now()
                FROM generate_series(1, %(missing)s) AS n
                JOIN product ON product.number = 1 + n %% (SELECT count(*) FROM product)
                RETURNING id, product_id
            )
            INSERT INTO stock_quant (product_id, lot_id, location_id, company_id, quantity,
                reserved_quantity, in_date, create_date, write_date)
            SELECT lot.product_id, lot.id, spot.id, spot.company_id, 10, 0, now(), now(), now()
            FROM lot, (SELECT id, company_id FROM stock_location WHERE usage = 'internal'
                       ORDER BY id LIMIT 1) AS spot
            """,
            {"missing": max(0, quants - have[0])},
        )
        try:
            store = SharedDb(needed("SHARED_DB_SYNC_URL"), is_durable=True)
            store.forget_cursor()
            mirror = InventoryMirror(
                feed, SharedDb(needed("SHARED_DB_SYNC_URL")), SharedDb(needed("SHARED_DB_SYNC_URL"))
            )
            while is_loading(store):
                mirror.follow(time.monotonic() + 1)
            with psycopg.connect(needed("SHARED_DB_SYNC_URL")) as connection:
                row = connection.execute(
                    "SELECT extract(epoch FROM loaded_at - load_began_at), refresh_ms"
                    " FROM sync_cursors"
                ).fetchone()
            assert row is not None
            report = reconcile(odoo_client, feed, store, threshold=0)
            result = {
                "quants": report.compared["stock_level"],
                "full_load_s": round(float(row[0]), 2),
                "reconcile_s": report.took_s,
                "drift": report.drift,
                "refresh_ms": round(row[1], 1),
            }
        finally:
            odoo.execute(
                "DELETE FROM stock_quant WHERE lot_id IN"
                " (SELECT id FROM stock_lot WHERE name LIKE 'bench %%')"
            )
            odoo.execute("DELETE FROM stock_lot WHERE name LIKE 'bench %%'")
        mirror.follow(time.monotonic() + 5)  # and mirror that it is all gone again
    return result


def is_loading(store: SharedDb) -> bool:
    progress = store.progress()
    return progress.cursor is None or progress.load_cursor is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="a rate")
    parser.add_argument("--rates", type=float, nargs="*", default=[1, 10, 50])
    parser.add_argument("--quants", type=int, default=20_000, help="0 leaves the full load out")
    parser.add_argument("--gap", type=float, default=0, help="seconds over which to look for a gap")
    options = parser.parse_args()
    result: dict[str, Any] = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "load_average_before": os.getloadavg()[0],
        "latency": {},
    }
    with a_mirror() as (whose, process):
        result["mirror"] = whose
        observer = Observer()
        observer.start()
        observer.ready.wait(10)
        first = FIRST
        if process is not None:
            before = sum(process.cpu_times()[:2])
            time.sleep(20)
            idle = sum(process.cpu_times()[:2]) - before
            result["mirror_cpu_idle_s_per_minute"] = round(idle * 3, 3)
        for rate in options.rates:
            before = sum(process.cpu_times()[:2]) if process else 0.0
            figures = measure(rate, options.seconds, observer, first)
            first += figures["changes"]
            if process is not None:
                used = sum(process.cpu_times()[:2]) - before
                figures["mirror_cpu_s_per_minute"] = round(used * 60 / options.seconds, 2)
            result["latency"][f"{rate:g}/s"] = figures
            print(f"{rate:g}/s: {figures}", flush=True)
        if options.gap:
            result["gap"] = measure(10, options.gap, observer, first)
            print(f"gap: {result['gap']}", flush=True)
        observer.stopping.set()
    if options.quants and result["mirror"].startswith("a process"):
        result["full"] = full_loads(options.quants)
        print(f"full: {result['full']}", flush=True)
    path = ROOT / "build" / "bench" / "inventory.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    # The DAG's mirror has gaps between two runs, one of our own has none: they are told apart.
    key = "sync" if result["mirror"].startswith("a process") else "sync_by_dag"
    path.write_text(json.dumps(known | {key: result}, indent=2) + "\n")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
