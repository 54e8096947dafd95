"""kill -9 of the mirror before each of its steps, then at random: the next one makes it equal."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.fake_feed import FakeOdoo, level, location, lot, movement, product, rule, served
from support.mirror_checks import assert_alerts_are_current, assert_equal, assert_totals_are_sums
from support.shared_db import Database

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "tests" / "support" / "broken_mirror.py"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "include")}


def run_mirror(
    odoo_url: str, database: Database, *, calls: int, seconds: float
) -> subprocess.Popen[bytes]:
    arguments = [odoo_url, database.sync_url, str(calls), str(seconds)]
    return subprocess.Popen([sys.executable, str(PROGRAM), *arguments], env=ENVIRONMENT)


def a_pharmacy(products: int) -> FakeOdoo:
    odoo = FakeOdoo()
    ids = range(1, products + 1)
    odoo.commit(
        ("location", 8, location("WH/Stock", "8/")),
        *(("product", n, product(f"Product {n}")) for n in ids),
        *(("lot", n, lot(n)) for n in ids),
        *(("reorder_rule", n, rule(n, 8, "10")) for n in ids),
        *(("stock_level", f"{n}:8:{n}", level(f"{n}:8:{n}", str(n * 3))) for n in ids),
    )
    return odoo


def day_of(odoo: FakeOdoo, seed: int) -> None:
    """Commit changes as a clinic's day would: levels with their movement, counts, names."""
    choose = random.Random(seed)
    products = sorted(odoo.records["product"])
    for number in range(40):
        product_id = choose.choice(products)
        key = f"{product_id}:8:{choose.choice([0, product_id])}"
        if choose.random() < 0.1:
            odoo.commit(("stock_level", key, None))
            continue
        amount = str(choose.randint(0, 40))
        odoo.commit(
            ("stock_level", key, level(key, amount)),
            ("movement", seed * 1000 + number, movement(product_id, amount)),
        )


@pytest.mark.timeout(280)
def test_killed_before_each_step_of_a_load_and_of_a_page_nothing_is_lost_or_doubled(
    database: Database,
) -> None:
    odoo = a_pharmacy(products=7)
    killed = 0
    with served(odoo) as url:
        # Steps are taken in strides of primes, so that a first load of about 60 steps is cut in
        # places of every kind without taking a minute a step.
        for calls in (1, 2, 3, 5, 7, 11, 13, 17, 23, 29, 31, 37, 43):
            day_of(odoo, seed=calls)
            process = run_mirror(url, database, calls=calls, seconds=1)
            process.wait(timeout=30)
            killed += process.returncode == -signal.SIGKILL
            assert process.returncode in (0, -signal.SIGKILL)
            if database.query("SELECT 1 FROM sync_cursors WHERE load_cursor IS NULL"):
                assert_totals_are_sums(database)
        assert killed > 8
        assert run_mirror(url, database, calls=0, seconds=2).wait(timeout=30) == 0
    assert_equal(odoo, database)
    assert_alerts_are_current(database)


def test_killed_at_random_while_changes_come_in(database: Database) -> None:
    odoo = a_pharmacy(products=20)
    choose = random.Random(7)
    with served(odoo) as url:
        for seed in range(5):
            process = run_mirror(url, database, calls=0, seconds=30)
            time.sleep(0.8 + choose.random() / 2)
            day_of(odoo, seed)
            time.sleep(choose.random() / 20)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert run_mirror(url, database, calls=0, seconds=2).wait(timeout=30) == 0
    assert_equal(odoo, database)
    assert_alerts_are_current(database)
    numbers = [row["number"] for row in database.query("SELECT number FROM change_events")]
    assert len(numbers) == len(set(numbers)) > 0


def test_two_mirrors_at_once_do_not_interleave(database: Database) -> None:
    odoo = a_pharmacy(products=20)
    with served(odoo) as url:
        first = run_mirror(url, database, calls=0, seconds=2)
        second = run_mirror(url, database, calls=0, seconds=3)
        for seed in range(3):
            day_of(odoo, seed)
            time.sleep(0.5)
        assert first.wait(timeout=30) == 0
        assert second.wait(timeout=30) == 0
    assert_equal(odoo, database)
    assert database.value("SELECT generation FROM sync_cursors") == 1
