"""What the change feed costs Odoo, and how fast it is. Writes build/bench/feed.json.

Run in the box: `python tests/bench/feed_cost.py [--rounds 300] [--seconds 30]`. It needs
$ODOO_DB_URL (stack.env of a running stack) for a database to copy; servers and data are its own.

- move: a done stock move with the addon's triggers and without (the addon uninstalled), in one
process
  by turns (ABBA), so that both sides see the same machine. `ratio` is the median of the paired
  ratios, with its quartiles and the 95 % interval of 2,000 bootstrap samples.
- empty_poll_ms: a page without changes by JSON-2, a connection each (Odoo's workers keep none
alive). - idle: CPU seconds of all of Odoo's processes in 60 s, with one open stream and with none.
- latency_ms: from just before COMMIT is sent to the line read by the client, at 1, 10 and 50
commits
  a second.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.feed_mirror import Mirror  # noqa: E402
from support.odoo import ADMIN, OdooCluster, OdooServer  # noqa: E402
from support.processes import run  # noqa: E402

_UNINSTALL = """
env["ir.module.module"].search([("name", "=", "clinic_change_feed")]).button_immediate_uninstall()
"""


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the largest, in milliseconds."""
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)

    return {"p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "max": at(1)}


def move_cost(cluster: OdooCluster, rounds: int) -> dict[str, Any]:
    """Time done moves with and without the addon, by turns."""
    databases = {"with": cluster.new_database(), "without": cluster.new_database()}
    odoo = OdooServer(cluster, databases["without"], cluster.folder / "bench")
    run(*odoo.command("shell"), "--no-http", "--workers=0", input=_UNINSTALL, env=odoo.environment)
    left = odoo.sql("SELECT count(*) FROM pg_trigger WHERE starts_with(tgname, 'clinic_')")[0][0]
    if left:
        raise RuntimeError(f"uninstalling the addon left {left} triggers")
    script = (Path(__file__).parent / "odoo_move_cost.py").read_text()
    settings = {"databases": databases, "rounds": rounds, "warm_up": 30}
    output = run(
        *odoo.command("shell"), "--no-http", "--workers=0", "--log-level=error",
        input=script, env={**odoo.environment, "CLINIC_BENCH": json.dumps(settings)},
    )  # fmt: skip
    times = json.loads(output.partition("RESULT ")[2].splitlines()[0])
    ratios = [a / b for a, b in zip(times["with"], times["without"], strict=True)]
    chance = random.Random(1)
    samples = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(2000))
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "rounds": rounds,
        "with_ms": percentiles(times["with"]),
        "without_ms": percentiles(times["without"]),
        "ratio": round(statistics.median(ratios), 4),
        "ratio_95": [round(samples[50], 4), round(samples[-51], 4)],
        "ratio_quartiles": [round(quartiles[0], 4), round(quartiles[2], 4)],
        "goal": "ratio <= 1.05",
    }


def empty_poll(server: OdooServer) -> dict[str, float]:
    """Time polls that bring nothing."""
    mirror = Mirror(server)
    times = []
    for _ in range(200):
        began = time.perf_counter()
        mirror.poll()
        times.append(time.perf_counter() - began)
    return percentiles(times[20:])


def cpu_seconds(server: OdooServer) -> float:
    """Return the CPU time that all of Odoo's processes have used."""
    master = psutil.Process(server.process_id)
    times = [process.cpu_times() for process in (master, *master.children(recursive=True))]
    return sum(used.user + used.system for used in times)


def idle(server: OdooServer, seconds: int = 60) -> dict[str, float]:
    """Measure Odoo's CPU time while nothing happens, without and with an open stream."""
    used = {}
    before = cpu_seconds(server)
    time.sleep(seconds)
    used["without_stream_s"] = round(cpu_seconds(server) - before, 3)
    with server.stream(Mirror(server).cursor) as pages:
        next(pages)
        time.sleep(1)  # its few lines wait in the socket's buffer
        before = cpu_seconds(server)
        time.sleep(seconds)
        used["with_stream_s"] = round(cpu_seconds(server) - before, 3)
    return {"wall_s": seconds, **used}


def make_products(server: OdooServer) -> list[int]:
    """Make fifty quants to change, each of its own product, and return the products' ids."""
    main = server.call("stock.warehouse", "search_read", ADMIN, domain=[], fields=["lot_stock_id"])
    products: list[int] = server.call(
        "product.product",
        "create",
        ADMIN,
        vals_list=[{"name": f"B{n}", "type": "consu", "is_storable": True} for n in range(50)],
    )
    server.sql(
        """
        INSERT INTO stock_quant (product_id, location_id, company_id, quantity,
                                 reserved_quantity, in_date)
        SELECT p, %s, 1, 0, 0, now() FROM unnest(%s::int[]) AS p
        """,
        main[0]["lot_stock_id"][0],
        products,
    )
    return products


def latency(
    server: OdooServer, products: list[int], numbers: Iterator[int], rate: int, seconds: int
) -> dict[str, Any]:
    """Commit at a rate and time each change until its line is read.

    Each commit writes a number of its own into a quant. The change has arrived with the first line
    that shows this number or, where two were folded, a later one of the same quant.
    """
    sent: dict[int, list[tuple[int, float]]] = {product: [] for product in products}
    received: list[tuple[int, int, float]] = []
    enough = threading.Event()

    def read(cursor: str) -> None:
        with server.stream(cursor) as pages:
            for page in pages:
                now = time.perf_counter()
                received.extend(
                    (change["values"]["product_id"], int(float(change["values"]["quantity"])), now)
                    for change in page["changes"]
                )
                if enough.is_set():
                    return

    reader = threading.Thread(target=read, args=(Mirror(server).cursor,))
    reader.start()
    time.sleep(1)
    commits = rate * seconds
    with server.cluster.connect(server.database) as connection:
        connection.autocommit = False
        start = time.perf_counter()
        for position in range(commits):
            time.sleep(max(0.0, start + position / rate - time.perf_counter()))
            number = next(numbers)
            product = products[number % len(products)]
            connection.execute(
                "UPDATE stock_quant SET quantity = %s WHERE product_id = %s", (number, product)
            )
            sent[product].append((number, time.perf_counter()))
            connection.commit()
        time.sleep(2)
        enough.set()  # seen with the next line
        connection.execute(
            "UPDATE stock_quant SET quantity = 0 WHERE product_id = %s", products[:1]
        )
        connection.commit()
    reader.join(30)
    delays = []
    for product, numbers_sent in sent.items():
        arrivals = [(number, when) for other, number, when in received if other == product]
        for number, when in numbers_sent:
            seen = [arrived for shown, arrived in arrivals if shown >= number]
            if not seen:
                raise RuntimeError(f"commit {number} never arrived")
            delays.append(min(seen) - when)
    return {"per_second": rate, "commits": commits, **percentiles(delays)}


def main() -> None:
    """Measure everything and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=300, help="paired moves")
    parser.add_argument("--seconds", type=int, default=30, help="for each rate")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cluster = OdooCluster(Path(folder, "odoo"))
        server = None
        try:
            results: dict[str, Any] = {
                "cpus": os.cpu_count(),
                "load_at_start": round(os.getloadavg()[0], 1),
                "move": move_cost(cluster, options.rounds),
            }
            print("move", json.dumps(results["move"]), flush=True)
            server = OdooServer(cluster, cluster.new_database(), cluster.folder / "server")
            server.start()
            results["empty_poll_ms"] = empty_poll(server)
            print("empty poll", json.dumps(results["empty_poll_ms"]), flush=True)
            results["idle"] = idle(server)
            print("idle", json.dumps(results["idle"]), flush=True)
            products, numbers = make_products(server), count(1)
            results["latency_ms"] = []
            for rate in (1, 10, 50):
                results["latency_ms"].append(
                    latency(server, products, numbers, rate, options.seconds)
                )
                print("latency", json.dumps(results["latency_ms"][-1]), flush=True)
            results["load_at_end"] = round(os.getloadavg()[0], 1)
        finally:
            if server is not None:
                server.stop()
            cluster.stop()
    target = ROOT / "build" / "bench" / "feed.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written: {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
