"""The promise itself: concurrent writers, long transactions, rollbacks, dying servers; no change
lost.

Writers change stock by raw SQL and through Odoo. Streams and polls with pages of every size follow.
In the end each reader's mirror must equal Odoo's sums, and the numbers of deliveries must fit the
outbox.
"""

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest
from support.feed_mirror import Mirror, full_state, mirrored_sums, sums_of_quants
from support.odoo import ADMIN, OdooCluster, OdooServer
from support.processes import wait_until

from .conftest import Stock

WRITING_S = 8
SEEDS = (1, 2)


class Writers:
    """Threads that change stock until they are told to stop.

    Attributes:
        commits: how often each stock level was changed by a transaction of ours that committed.
        problems: errors that must not happen.
    """

    def __init__(self, server: OdooServer, stock: Stock, seed: int, patient: bool = False) -> None:
        """Begin nothing yet.

        Args:
            server: whose stock.
            stock: the records to change.
            seed: of every random choice.
            patient: the database may go away and come back.
        """
        self.server, self.stock, self.seed, self.patient = server, stock, seed, patient
        self.commits: Counter[str] = Counter()
        self.problems: list[Exception] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    @contextlib.contextmanager
    def at_work(self, through_odoo: bool = True) -> Iterator[None]:
        """Write while the block runs."""
        jobs: list[Callable[[random.Random], None]] = [self._sql, self._sql, self._sql, self._long]
        if through_odoo:
            jobs += [self._odoo, self._quants_come_and_go]
        for number, job in enumerate(jobs):
            chance = random.Random(f"{self.seed}/{number}")
            self._threads.append(threading.Thread(target=self._loop, args=(job, chance)))
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads)
        assert not self.problems, self.problems[0]

    def _loop(self, job: Callable[[random.Random], None], chance: random.Random) -> None:
        while not self._stop.is_set():
            try:
                job(chance)
            except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
                continue
            except (psycopg.OperationalError, httpx.TransportError) as error:
                if not self.patient:
                    self.problems.append(error)
                    return
                time.sleep(0.2)
            except Exception as error:  # noqa: BLE001 - shown by at_work
                self.problems.append(error)
                return

    def _key(self, number: int) -> str:
        return f"{self.stock.products[number]}:{self.stock.shelf}:{self.stock.lots[number]}"

    def _sql(self, chance: random.Random, hold_s: float = 0) -> None:
        """One transaction: some statements, perhaps a savepoint undone, perhaps all undone."""
        touched: set[int] = set()
        with psycopg.connect(self.server.cluster.url(self.server.database)) as connection:
            for _ in range(chance.choice([1, 1, 1, 2, 5])):
                some = chance.sample(range(4), chance.choice([1, 1, 2, 4]))
                undo = chance.random() < 0.15
                connection.execute("SAVEPOINT here")
                connection.execute(
                    "UPDATE stock_quant SET quantity = quantity + %s WHERE product_id = ANY(%s)",
                    (chance.choice([1, -1, 0.125]), [self.stock.products[n] for n in sorted(some)]),
                )
                if undo:
                    connection.execute("ROLLBACK TO SAVEPOINT here")
                else:
                    touched.update(some)
            time.sleep(hold_s or chance.choice([0, 0, 0.01, 0.05]))
            if chance.random() < 0.15:
                connection.rollback()
                return
            connection.commit()
        with self._lock:
            self.commits.update(self._key(number) for number in touched)

    def _long(self, chance: random.Random) -> None:
        """A transaction that begins early and commits late, on a row of its own."""
        with psycopg.connect(self.server.cluster.url(self.server.database)) as connection:
            connection.execute(
                "UPDATE stock_lot SET name = name || 'x' WHERE id = %s", (self.stock.lots[0],)
            )
            connection.execute(
                "UPDATE stock_warehouse SET name = name || 'x'"
                " WHERE id = (SELECT min(id) FROM stock_warehouse)"
            )
            self._stop.wait(chance.choice([1, 2]))
            if chance.random() < 0.3:
                connection.rollback()

    def _odoo(self, chance: random.Random) -> None:
        """A count, or a product changed, through Odoo.

        Counts are of products that the SQL writers leave alone: Odoo gives up on a row that others
        keep changing.
        """
        number = chance.choice([4, 5])
        if chance.random() < 0.3:
            self.server.post(
                "product.product",
                "write",
                ADMIN,
                ids=[self.stock.products[number]],
                vals={"list_price": chance.randrange(1000) / 100},
            )
            return
        answer = self.server.post(
            "stock.quant",
            "create",
            ADMIN,
            vals_list=[
                {
                    "product_id": self.stock.products[number],
                    "location_id": self.stock.shelf,
                    "lot_id": self.stock.lots[number],
                    "inventory_quantity": chance.randrange(200),
                }
            ],
            context={"inventory_mode": True},
        )
        if answer.status_code == 200:
            self.server.post("stock.quant", "action_apply_inventory", ADMIN, ids=answer.json())
        time.sleep(0.05)

    def _quants_come_and_go(self, chance: random.Random) -> None:
        """Rows of their own keys (no lot), inserted, doubled, merged and deleted by raw SQL."""
        product = chance.choice(self.stock.products)
        with psycopg.connect(self.server.cluster.url(self.server.database)) as connection:
            statement = chance.choice(
                [
                    """
                INSERT INTO stock_quant (product_id, location_id, company_id, quantity,
                                         reserved_quantity, in_date)
                VALUES (%(product)s, %(shelf)s, 1, 3, 0, now())
                """,
                    """
                DELETE FROM stock_quant
                 WHERE product_id = %(product)s AND location_id = %(shelf)s AND lot_id IS NULL
                """,
                ]
            )
            connection.execute(statement, {"product": product, "shelf": self.stock.shelf})
        time.sleep(0.1)


class Follower(threading.Thread):
    """Keeps a mirror by the stream, and opens it again whenever it breaks.

    Attributes:
        breaks: how often it broke.
    """

    def __init__(self, server: OdooServer, limit: int) -> None:
        super().__init__(daemon=True)
        self.server, self.limit = server, limit
        self.mirror = Mirror(server)
        self.breaks = 0
        self.problem: BaseException | None = None
        self._last_word: tuple[int, str] | None = None
        self.start()

    def run(self) -> None:
        while not self._has_ended():
            try:
                with self.server.stream(self.mirror.cursor, self.limit, read_s=3) as pages:
                    for page in pages:
                        self.mirror.apply(page, self.limit)
                        if self._has_ended():
                            return
            except httpx.ReadTimeout:
                continue  # nothing new for a while, or a busy machine
            except httpx.HTTPError:
                self.breaks += 1
                time.sleep(0.2)
            except BaseException as error:  # noqa: BLE001 - shown by finish
                self.problem = error
                return

    def _has_ended(self) -> bool:
        lot, name = self._last_word or (None, None)
        return lot is not None and self.mirror.rows["lot", lot]["name"] == name

    def finish(self, last_word: tuple[int, str], timeout_s: float = 120) -> Mirror:
        """Let it read until the last change has come, and return its mirror.

        Args:
            last_word: what `say_last_word` returned.
            timeout_s: how long that may take.
        """
        self._last_word = last_word
        self.join(timeout_s)
        if self.problem is not None:
            raise self.problem
        assert not self.is_alive(), "the last change never came by the stream"
        return self.mirror


def say_last_word(server: OdooServer, stock: Stock) -> tuple[int, str]:
    """Change one lot once every writer has stopped: (its id, its new name).

    No other transaction is under way, so whoever has read this change has been given all others.
    """
    lot = stock.lots[5]
    name = server.sql(
        "UPDATE stock_lot SET name = name || ' last' WHERE id = %s RETURNING name", lot
    )[0][0]
    return lot, name


class Poller(threading.Thread):
    """Keeps a mirror by paged polls of random size."""

    def __init__(self, server: OdooServer, seed: int) -> None:
        super().__init__(daemon=True)
        self.mirror = Mirror(server)
        self.problem: BaseException | None = None
        self._chance = random.Random(seed)
        self._stop = threading.Event()
        self.start()

    def run(self) -> None:
        try:
            while not self._stop.is_set():
                self.mirror.poll(self._chance.choice([1, 2, 7, 100, 10_000]))
                time.sleep(self._chance.choice([0, 0.05, 0.3]))
            self.mirror.catch_up(100)
        except BaseException as error:  # noqa: BLE001 - shown by finish
            self.problem = error

    def finish(self) -> Mirror:
        self._stop.set()
        self.join(120)
        if self.problem is not None:
            raise self.problem
        return self.mirror


def outbox_rows(server: OdooServer, after: int) -> Counter[tuple[str, Any]]:
    """Return how many rows the outbox has by (entity, id), of those with an id above one."""
    rows = server.sql(
        """
        SELECT entity, res_id, keys->>0 || ':' || (keys->>1) || ':' || (keys->>2), count(*)
          FROM clinic_change WHERE id > %s GROUP BY 1, 2, 3
        """,
        after,
    )
    return Counter({(entity, key or res_id): count for entity, res_id, key, count in rows})


@pytest.mark.parametrize("seed", SEEDS)
def test_every_commit_arrives_whatever_commits_in_which_order(
    odoo_server: OdooServer, stock: Stock, seed: int
) -> None:
    last_row = odoo_server.sql("SELECT coalesce(max(id), 0) FROM clinic_change")[0][0]
    followers = [Follower(odoo_server, limit) for limit in (1, 5, 1000)]
    poller = Poller(odoo_server, seed)
    writers = Writers(odoo_server, stock, seed)
    with writers.at_work():
        time.sleep(WRITING_S)
    last_word = say_last_word(odoo_server, stock)
    mirrors = [follower.finish(last_word) for follower in followers] + [poller.finish()]

    assert sum(writers.commits.values()) > 50, "the writers wrote next to nothing"
    truth = full_state(odoo_server)
    written = outbox_rows(odoo_server, last_row)
    assert any(key[0] == "movement" for key in written), "nothing went through Odoo"
    for mirror in mirrors:
        assert mirrored_sums(mirror) == sums_of_quants(odoo_server)
        assert mirror.rows == truth
        # Lost: a record that changed and never came. Doubled: it came more often than it changed.
        assert set(mirror.deliveries) == set(written)
        assert all(times <= written[key] for key, times in mirror.deliveries.items())
    # One row a page: nothing is folded, so each row of the outbox came exactly once.
    assert mirrors[0].deliveries == written
    # The widest pages fold what one transaction did: at least one row a commit was written.
    for key, commits in writers.commits.items():
        assert written["stock_level", key] >= commits
    assert all(follower.breaks == 0 for follower in followers)


def test_nothing_is_lost_while_servers_die(
    odoo_cluster: OdooCluster, odoo_server: OdooServer, stock: Stock
) -> None:
    last_row = odoo_server.sql("SELECT coalesce(max(id), 0) FROM clinic_change")[0][0]
    followers = [Follower(odoo_server, limit) for limit in (1, 1000)]
    writers = Writers(odoo_server, stock, seed=3, patient=True)
    with writers.at_work(through_odoo=False):
        time.sleep(2)
        odoo_server.evented_process().kill()
        time.sleep(3)
        odoo_cluster.stop()
        time.sleep(0.5)
        odoo_cluster.start()
        time.sleep(2)
        odoo_cluster.kill()
        odoo_cluster.start()
        time.sleep(1)
        odoo_server.kill()
        odoo_server.start()
        time.sleep(1)
    last_word = say_last_word(odoo_server, stock)
    mirrors = [follower.finish(last_word) for follower in followers]
    written = outbox_rows(odoo_server, last_row)
    truth = full_state(odoo_server)
    assert any(follower.breaks for follower in followers), "no stream noticed anything"
    for mirror in mirrors:
        assert mirror.rows == truth
        assert mirrored_sums(mirror) == sums_of_quants(odoo_server)
        assert set(mirror.deliveries) == set(written)


def test_a_transaction_id_that_a_crash_hands_out_again_hides_nothing(
    odoo_cluster: OdooCluster, odoo_server: OdooServer, stock: Stock
) -> None:
    """What rolls back is not flushed. A cursor that calls its id seen must not outlive that id."""
    with odoo_cluster.connect("postgres") as connection:
        connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        connection.execute("SELECT pg_reload_conf()")
    try:
        mirror = Mirror(odoo_server)
        time.sleep(1)
        with odoo_cluster.connect(odoo_server.database) as connection:
            connection.execute("CHECKPOINT")
            connection.autocommit = False
            for _ in range(20):
                connection.execute("SELECT pg_current_xact_id()")
                connection.rollback()
        mirror.catch_up()
        odoo_cluster.kill()
        odoo_cluster.start()
        for number in range(6):
            odoo_server.sql(
                "UPDATE stock_quant SET quantity = quantity + 1 WHERE product_id = %s",
                stock.products[number],
            )
        wait_until(lambda: odoo_server.post("clinic.change", "feed").status_code == 200, "Odoo")
        mirror.catch_up()
        assert mirrored_sums(mirror) == sums_of_quants(odoo_server)
    finally:
        with odoo_cluster.connect("postgres") as connection:
            connection.execute("ALTER SYSTEM RESET wal_writer_delay")
            connection.execute("SELECT pg_reload_conf()")
