"""A real Odoo, a real shared database, and a mirror between them, each of which may be killed."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from clinic.shared_db_commands import migrate_database
from support.odoo import ADMIN, OdooCluster, OdooServer, odoo_cluster, odoo_server  # noqa: F401
from support.postgres import PostgresCluster
from support.processes import postgres_program, run
from support.stack_env import ROOT

Sums = dict[tuple[int, int, int], tuple[Decimal, Decimal]]


@dataclass
class SharedCluster:
    """A PostgreSQL cluster with the shared database in it, and its roles."""

    cluster: PostgresCluster
    name: str = "clinica_shared"

    def url(self, role: str) -> str:
        return self.cluster.url(self.name, role)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url("clinica_owner"), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresCluster]:
    cluster = PostgresCluster(tmp_path_factory.mktemp("shared"))
    cluster.start()
    variables = [f"--set={role}_password={cluster.password}" for role in
                 ("owner", "sync", "api", "readonly")]  # fmt: skip
    run(
        postgres_program("psql"), "--quiet", "--set=ON_ERROR_STOP=1", *variables,
        "--file", str(ROOT / "sql" / "roles.sql"), cluster.url("postgres", "postgres"),
    )  # fmt: skip
    yield cluster
    cluster.stop()


@pytest.fixture
def shared(shared_cluster: PostgresCluster) -> Iterator[SharedCluster]:
    """An empty shared database."""
    shared = SharedCluster(shared_cluster)
    with shared_cluster.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {shared.name} OWNER clinica_owner TEMPLATE template0")
    migrate_database(shared.url("clinica_owner"))
    yield shared
    shared_cluster.drop_database(shared.name)


@dataclass
class MirrorProcess:
    """`clinic sync` in a process of its own."""

    odoo: OdooServer
    shared: SharedCluster
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT / "include"),
            "ODOO_URL": self.odoo.url,
            "ODOO_EVENTED_URL": self.odoo.evented_url,
            "ODOO_DB": self.odoo.database,
            "ODOO_FEED_API_KEY": self.odoo.headers()["Authorization"].removeprefix("bearer "),
            "SHARED_DB_SYNC_URL": self.shared.url("clinica_sync"),
        }
        command = [sys.executable, "-m", "clinic.cli", "sync", "--seconds", "280"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)
            self.process = None

    def assert_alive(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-3000:]


@pytest.fixture
def mirror(
    odoo_server: OdooServer,  # noqa: F811
    shared: SharedCluster,
    tmp_path: Path,
) -> Iterator[MirrorProcess]:
    mirror = MirrorProcess(odoo_server, shared, tmp_path / "mirror.log")
    mirror.start()
    yield mirror
    mirror.kill()


@dataclass
class Clinic:
    """Stock in Odoo, and people and programs that change it in every way there is."""

    odoo: OdooServer
    products: list[int]
    shelves: list[int]
    lots: dict[int, list[int]]
    problems: list[str] = field(default_factory=list)

    def sums(self) -> Sums:
        """Return what Odoo's own table says."""
        rows = self.odoo.sql(
            """
            SELECT q.product_id, q.location_id, coalesce(q.lot_id, 0),
                   coalesce(sum(q.quantity), 0)::text,
                   sum(q.reserved_quantity)::text
            FROM stock_quant AS q JOIN stock_location AS l ON l.id = q.location_id
            WHERE l.usage IN ('internal', 'transit') GROUP BY 1, 2, 3
            """
        )
        return {(*key,): (Decimal(held), Decimal(reserved)) for *key, held, reserved in rows}

    @contextlib.contextmanager
    def traffic(self, seed: int, writers: int = 3) -> Iterator[None]:
        """Change stock from several connections, the ORM and SQL, until the block ends."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=self._write, args=(seed * 100 + n, stop))
            for n in range(writers)
        ]
        threads.append(threading.Thread(target=self._adjust, args=(seed, stop)))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
        assert self.problems == []

    def _write(self, seed: int, stop: threading.Event) -> None:
        """SQL, as Odoo's own merges write it: long transactions and rollbacks among them."""
        choose = random.Random(seed)
        with self.odoo.cluster.connect(self.odoo.database, "odoo") as connection:
            while not stop.is_set():
                product = choose.choice(self.products)
                values = (product, choose.choice(self.shelves), choose.choice(self.lots[product]))
                try:
                    with connection.transaction(force_rollback=choose.random() < 0.15):
                        for _ in range(choose.choice([1, 1, 1, 20])):
                            self._one_write(connection, choose, values)
                        if choose.random() < 0.03:
                            time.sleep(1)
                except psycopg.errors.DeadlockDetected:
                    continue
                except psycopg.Error as error:
                    self.problems.append(f"writer: {error}")
                    return
                time.sleep(choose.random() / 50)

    def _one_write(
        self, connection: psycopg.Connection[Any], choose: random.Random, values: tuple[int, ...]
    ) -> None:
        what = choose.random()
        if what < 0.5:
            connection.execute(
                "INSERT INTO stock_quant (product_id, location_id, lot_id, company_id, quantity,"
                " reserved_quantity, in_date) VALUES (%s, %s, %s, 1, %s, 0, now())",
                (*values, choose.randint(1, 50)),
            )
        elif what < 0.7:
            connection.execute(
                "DELETE FROM stock_quant"
                " WHERE product_id = %s AND location_id = %s AND lot_id = %s",
                values,
            )
        elif what < 0.95:
            connection.execute(
                "UPDATE stock_quant SET quantity = quantity + %s WHERE product_id = %s",
                (choose.choice([1, -1, Decimal("0.001"), Decimal("1e-9"), 10**9]), values[0]),
            )
        else:
            connection.execute(
                "UPDATE stock_lot SET expiration_date = now() + make_interval(days => %s)"
                " WHERE id = %s",
                (choose.randint(1, 900), values[2]),
            )

    def _adjust(self, seed: int, stop: threading.Event) -> None:
        """Counts and names, as people enter them; Odoo may be down just then."""
        choose = random.Random(seed)
        while not stop.is_set():
            product = choose.choice(self.products)
            with contextlib.suppress(Exception):  # Odoo refused, or was killed: that is no concern
                if choose.random() < 0.7:
                    ids = self.odoo.call(
                        "stock.quant",
                        "create",
                        ADMIN,
                        context={"inventory_mode": True},
                        vals_list=[
                            {
                                "product_id": product,
                                "location_id": choose.choice(self.shelves),
                                "lot_id": choose.choice(self.lots[product]),
                                "inventory_quantity": choose.randint(0, 60),
                            }
                        ],
                    )
                    self.odoo.call("stock.quant", "action_apply_inventory", ADMIN, ids=ids)
                else:
                    name = f"Medicine {product} {choose.random()}"
                    self.odoo.call(
                        "product.product", "write", ADMIN, ids=[product], vals={"name": name}
                    )
            stop.wait(0.1)


@pytest.fixture(scope="module")
def clinic(odoo_server: OdooServer) -> Clinic:  # noqa: F811
    call = odoo_server.call
    main = call("stock.warehouse", "search_read", ADMIN, domain=[], fields=["lot_stock_id"])[0]
    parent = main["lot_stock_id"][0]
    shelves = call(
        "stock.location",
        "create",
        ADMIN,
        vals_list=[{"name": f"Shelf {n}", "location_id": parent} for n in range(3)],
    )
    products = call(
        "product.product",
        "create",
        ADMIN,
        vals_list=[
            {"name": f"Medicine {n}", "type": "consu", "is_storable": True, "tracking": "lot"}
            for n in range(12)
        ],
    )
    lots = {
        product: call(
            "stock.lot",
            "create",
            ADMIN,
            vals_list=[{"name": f"L{product}-{n}", "product_id": product} for n in range(2)],
        )
        for product in products
    }
    call(
        "stock.warehouse.orderpoint",
        "create",
        ADMIN,
        vals_list=[
            {"product_id": p, "location_id": parent, "product_min_qty": 40, "product_max_qty": 90}
            for p in products
        ],
    )
    return Clinic(odoo_server, products, shelves, lots)


def mirrored_sums(shared: SharedCluster) -> Sums:
    rows = shared.rows(
        "SELECT medication_id, location_id, lot_id, quantity, reserved_quantity"
        " FROM shared_stock_levels"
    )
    return {(*key,): (held, reserved) for *key, held, reserved in rows}


def differences(clinic: Clinic, shared: SharedCluster) -> dict[str, Any]:
    """Compare every sum, total, movement, name and alert; return what differs, by what it is."""
    sql, rows = clinic.odoo.sql, shared.rows
    here, there = mirrored_sums(shared), clinic.sums()
    assert there
    found: dict[str, Any] = {
        "sums": {
            key: (here.get(key), there.get(key))
            for key in here.keys() | there.keys()
            if here.get(key) != there.get(key)
        },
        "movements": set(rows("SELECT id FROM shared_stock_movements"))
        ^ set(sql("SELECT id FROM stock_move_line WHERE state = 'done'")),
        "lots": set(rows("SELECT id, medication_id, expires_at FROM shared_lots"))
        ^ set(sql("SELECT id, product_id, expiration_date AT TIME ZONE 'UTC' FROM stock_lot")),
        "patients": set(rows("SELECT id, name, birth_date FROM shared_patients"))
        ^ set(sql("SELECT id, name, birth_date FROM res_partner WHERE is_patient")),
        "names": set(rows("SELECT id, name_en FROM shared_medications"))
        ^ set(
            sql(
                "SELECT p.id, t.name ->> 'en_US' FROM product_product AS p"
                " JOIN product_template AS t ON t.id = p.product_tmpl_id WHERE t.is_storable"
            )
        ),
        "totals": rows(
            "SELECT m.id FROM shared_medications AS m WHERE m.stock_quantity <> coalesce((SELECT"
            " sum(l.quantity) FROM shared_stock_levels AS l WHERE l.medication_id = m.id), 0)"
        ),
        "alerts": set(rows("SELECT rule_id, quantity FROM low_stock"))
        ^ set(rows("SELECT rule_id, quantity FROM low_stock_alerts")),
        "rejects": rows("SELECT * FROM sync_rejects"),
        "loading": rows("SELECT load_entity FROM sync_cursors WHERE load_cursor IS NOT NULL"),
    }
    return {what: rest for what, rest in found.items() if rest}


def assert_becomes_equal(clinic: Clinic, shared: SharedCluster, timeout_s: float = 60) -> None:
    """Wait until nothing differs; show what still does."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        try:
            found = differences(clinic, shared)
        except psycopg.OperationalError as error:
            found = {"database": error}  # it was killed just now
        if not found:
            return
        assert time.monotonic() < give_up_at, found
        time.sleep(0.2)
