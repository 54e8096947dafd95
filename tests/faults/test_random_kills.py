"""Under Airflow: whatever is killed while stock moves, in the end every sum is Odoo's own."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

import psutil
import psycopg
import pytest
from clinic.clients.odoo import OdooClient
from clinic.clients.odoo_feed import OdooFeed
from clinic.clients.shared_db import SharedDb
from clinic.errors import ClinicError, TransientError
from clinic.inventory.reconcile import Report, reconcile
from support import runit
from support.processes import wait_until

log = logging.getLogger(__name__)

PRODUCTS = 6
KILLS = 7
QUIET_AFTER_S = 300

Moved = list[tuple[int, int, Decimal]]

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


def kill_the_task() -> None:
    """Kill what runs sync_inventory's task; Airflow has to notice by itself."""
    for process in runit.task_processes():
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


FAULTS: dict[str, Callable[[], None]] = {
    "the task": kill_the_task,
    "Odoo": lambda: runit.kill("odoo"),
    "PostgreSQL": lambda: runit.kill("postgres"),
    "the scheduler": lambda: runit.kill("airflow-scheduler"),
}


def movements_in_odoo(url: str, products: list[int]) -> Moved:
    """Return how many finished movements of each product Odoo has, and what they sum to."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT product_id, count(*), sum(quantity_product_uom) FROM stock_move_line"
            " WHERE state = 'done' AND product_id = ANY(%s) GROUP BY 1 ORDER BY 1",
            [products],
        ).fetchall()


def movements_in_the_mirror(url: str, products: list[int]) -> Moved:
    """Return the same of the shared database."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT medication_id, count(*), sum(quantity) FROM shared_stock_movements"
            " WHERE medication_id = ANY(%s) GROUP BY 1 ORDER BY 1",
            [products],
        ).fetchall()


class Traffic:
    """Counts products in, again and again, in a location of its own; goes on whatever fails."""

    def __init__(self, odoo: OdooClient, seed: int) -> None:
        self._odoo = odoo
        self._random = random.Random(seed)
        self.applied = 0
        self.refused = 0
        warehouse = odoo.call(
            "stock.warehouse", "search_read", domain=[], fields=["lot_stock_id"], limit=1, load=None
        )[0]
        self.location = odoo.call(
            "stock.location",
            "create",
            vals_list=[{"name": f"Faults {seed}", "location_id": warehouse["lot_stock_id"]}],
        )[0]
        self.products = odoo.call(
            "product.product",
            "create",
            vals_list=[
                {"name": f"Fault {seed} {n}", "type": "consu", "is_storable": True}
                for n in range(PRODUCTS)
            ],
        )

    def count_one(self) -> None:
        context = {"inventory_mode": True, "tracking_disable": True}
        quant = {
            "product_id": self._random.choice(self.products),
            "location_id": self.location,
            "inventory_quantity": self._random.randrange(1, 1000),
        }
        try:
            ids = self._odoo.call("stock.quant", "create", vals_list=[quant], context=context)
            self._odoo.call("stock.quant", "action_apply_inventory", ids=ids, context=context)
        except ClinicError:
            self.refused += 1
            time.sleep(0.2)
        else:
            self.applied += 1

    @contextmanager
    def flowing(self) -> Iterator[None]:
        stop = threading.Event()

        def flow() -> None:
            while not stop.is_set():
                self.count_one()
                stop.wait(0.05)

        thread = threading.Thread(target=flow, name="traffic")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(60)


@pytest.fixture
def compare(stack_env: dict[str, str]) -> Iterator[Callable[[], Report]]:
    """Compare every sum with Odoo's own, without healing."""
    odoo = OdooClient.connect(
        stack_env["ODOO_URL"],
        database=stack_env["ODOO_DB"],
        api_key=stack_env["ODOO_FEED_API_KEY"],
    )
    feed = OdooFeed.connect(
        stack_env["ODOO_URL"],
        evented_url=stack_env["ODOO_EVENTED_URL"],
        database=stack_env["ODOO_DB"],
        api_key=stack_env["ODOO_FEED_API_KEY"],
    )
    store = SharedDb(stack_env["SHARED_DB_SYNC_URL"])
    yield lambda: reconcile(odoo, feed, store, threshold=10**9, dry_run=True)
    store.close()
    feed.close()
    odoo.close()


def test_random_kills_lose_and_double_nothing(
    stack_env: dict[str, str], compare: Callable[[], Report]
) -> None:
    seed = int(time.time())
    log.warning("seed %d", seed)
    chance = random.Random(seed)
    odoo = OdooClient.connect(
        stack_env["ODOO_URL"],
        database=stack_env["ODOO_DB"],
        api_key=stack_env["ODOO_API_KEY"],
        timeout_s=10,
    )
    traffic = Traffic(odoo, seed)
    wait_until(runit.task_processes, "sync_inventory runs", 120, every_s=0.5)

    killed = list(FAULTS)  # each at least once
    killed += chance.choices(killed, k=KILLS - len(killed))
    chance.shuffle(killed)
    with traffic.flowing():
        for name in killed:
            before = traffic.applied
            wait_until(lambda before=before: traffic.applied > before + 3, "stock moves again", 120)
            log.warning("killing %s after %d counts", name, traffic.applied)
            FAULTS[name]()
        before = traffic.applied
        wait_until(lambda: traffic.applied > before + 3, "stock moves again", 120)
    assert traffic.refused, "no kill was felt: the test did not test"
    runit.wait_until_ready("airflow-scheduler")

    # What Odoo holds of the test's products is what the mirror must come to hold, by itself.
    with psycopg.connect(stack_env["ODOO_DB_URL"]) as connection:
        ours = dict(
            connection.execute(
                "SELECT product_id, sum(quantity) FROM stock_quant WHERE location_id = %s"
                " GROUP BY product_id",
                [traffic.location],
            ).fetchall()
        )
    assert ours

    def mirrored() -> bool:
        try:
            with psycopg.connect(stack_env["SHARED_DB_READONLY_URL"]) as connection:
                theirs = dict(
                    connection.execute(
                        "SELECT medication_id, sum(quantity) FROM shared_stock_levels"
                        " WHERE location_id = %s GROUP BY medication_id",
                        [traffic.location],
                    ).fetchall()
                )
        except psycopg.OperationalError:
            return False
        return theirs == ours

    wait_until(mirrored, "the mirror holds what Odoo holds", QUIET_AFTER_S, every_s=0.5)

    # A movement lost or doubled on the way shows in their number, whatever the levels say. A count
    # that finds what is there already moves nothing: about one in a thousand.
    moved = movements_in_odoo(stack_env["ODOO_DB_URL"], traffic.products)
    assert sum(number for _, number, _ in moved) >= traffic.applied * 0.9
    url = stack_env["SHARED_DB_READONLY_URL"]
    wait_until(
        lambda: movements_in_the_mirror(url, traffic.products) == moved,
        "the mirror has Odoo's movements",
        60,
        every_s=0.5,
    )

    def report() -> Report | None:
        try:
            return compare()
        except TransientError:
            return None

    reports: list[Report] = []
    wait_until(lambda: reports.append(r) or True if (r := report()) else False, "a comparison", 60)
    assert reports[-1].compared["movement"] >= traffic.applied
    assert reports[-1].drift == 0, reports[-1]
