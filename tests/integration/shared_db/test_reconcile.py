"""Reconciling against a real PostgreSQL, with an Odoo in memory."""

import copy
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from clinic.clients.shared_db import SharedDb
from clinic.errors import PermanentError, TransientError
from clinic.inventory.mirror import InventoryMirror, Settings
from clinic.inventory.reconcile import Report, reconcile
from support.fake_feed import FakeOdoo, Page, level, location, lot, movement, patient, product, rule
from support.mirror_checks import assert_alerts_are_current, assert_equal
from support.shared_db import Database

pytestmark = pytest.mark.stack

LONG_AGO = "2020-01-01 00:00:00"
IN_THE_FUTURE = "2099-01-01 00:00:00"


class FakeOrm:
    """Odoo's ORM over the same records as the feed: quants in halves, so that sums are summed."""

    def __init__(self, odoo: FakeOdoo) -> None:
        self.odoo = odoo
        self.write_date = LONG_AGO
        self.while_reading: Any = lambda: None
        self.extra_quants: list[tuple[str, str]] = []

    def search_read(
        self, model: str, domain: list[Any], fields: list[str], *, page_size: int = 2000
    ) -> Iterator[dict[str, Any]]:
        if model == "stock.move.line":
            assert domain == [["state", "=", "done"]]
            for each, values in sorted(self.odoo.records["movement"].items()):
                row = {
                    "id": each,
                    "product_id": values["product_id"],
                    "lot_id": values["lot_id"] or False,
                    "location_id": values["from_location_id"],
                    "location_dest_id": values["to_location_id"],
                    "quantity_product_uom": Decimal(values["quantity"]),
                    "write_date": self.write_date,
                }
                yield {name: row[name] for name in ("id", *fields)}
            self.while_reading()
            return
        assert model == "stock.quant"
        assert domain == [["location_id.usage", "in", ["internal", "transit"]]]
        extra = [level(key, quantity) for key, quantity in self.extra_quants]
        levels = list(self.odoo.records["stock_level"].values())
        for number, values in enumerate([*levels, *extra]):
            for half in (0, 1):
                yield {
                    "id": number * 2 + half,
                    "product_id": values["product_id"],
                    "location_id": values["location_id"],
                    "lot_id": values["lot_id"] or False,
                    "quantity": Decimal(values["quantity"]) / 2,
                    "reserved_quantity": Decimal(values["reserved_quantity"]) / 2,
                    "write_date": self.write_date,
                }
        self.while_reading()


@pytest.fixture
def odoo(database: Database) -> FakeOdoo:
    """A pharmacy of 30 products, mirrored."""
    odoo = FakeOdoo()
    ids = range(1, 31)
    odoo.commit(
        ("location", 8, location("WH/Stock", "8/")),
        *(("product", n, product(f"Product {n}", list_price="1.23456")) for n in ids),
        *(("lot", n, lot(n)) for n in ids),
        *(("reorder_rule", n, rule(n, 8, "10")) for n in ids),
        *(("stock_level", f"{n}:8:{n}", level(f"{n}:8:{n}", f"{n}.1")) for n in ids),
        *(("movement", n, movement(n, "3")) for n in ids),
        ("patient", 31, patient()),
    )
    follow(odoo, database)
    return odoo


def follow(odoo: FakeOdoo, database: Database, seconds: float = 0.4) -> None:
    settings = Settings(refresh_gap_s=(0, 0.05), idle_store_s=0)
    store, alerts = SharedDb(database.sync_url), SharedDb(database.sync_url)
    InventoryMirror(odoo, store, alerts, settings).follow(time.monotonic() + seconds)


def reconciled(
    odoo: FakeOdoo, database: Database, *, orm: FakeOrm | None = None, **options: Any
) -> Report:
    store = SharedDb(database.sync_url, is_durable=True)
    try:
        return reconcile(orm or FakeOrm(odoo), odoo, store, **options)
    finally:
        store.close()


def causes(database: Database) -> dict[tuple[str, str], str]:
    rows = database.query("SELECT * FROM drift_reports")
    return {(row["entity"], row["record_id"]): row["probable_cause"] for row in rows}


def test_a_mirror_that_is_right_is_left_alone(odoo: FakeOdoo, database: Database) -> None:
    report = reconciled(odoo, database, threshold=0)
    assert report.compared == {
        "location": 1,
        "product": 30,
        "lot": 30,
        "reorder_rule": 30,
        "stock_level": 30,
        "movement": 30,
        "patient": 1,
    }
    assert report.drift == 0
    assert database.value("SELECT count(*) FROM drift_reports") == 0
    assert database.value("SELECT reconciled_rows FROM sync_cursors") == 152


@pytest.mark.parametrize(
    "damage",
    [
        "quantity = quantity + 1",
        "medication_id = 13",
        "lot_id = 12",
        "from_location_id = 5",
        "to_location_id = 5",
    ],
)
def test_a_movement_that_differs_is_found_and_healed(
    odoo: FakeOdoo, database: Database, damage: str
) -> None:
    right = database.query("SELECT * FROM shared_stock_movements WHERE id = 12")
    database.query(f"UPDATE shared_stock_movements SET {damage} WHERE id = 12")  # noqa: S608
    assert reconciled(odoo, database).drifted["movement"] == 1
    healed = database.query("SELECT * FROM shared_stock_movements WHERE id = 12")
    del right[0]["synced_at"], healed[0]["synced_at"]
    assert healed == right
    assert reconciled(odoo, database, threshold=0).drift == 0


def test_a_movement_edited_in_odoo_that_no_trigger_saw_is_healed_from_the_orm(
    odoo: FakeOdoo, database: Database
) -> None:
    orm = FakeOrm(FakeOdoo(records=copy.deepcopy(odoo.records)))
    orm.odoo.records["movement"][3] = movement(3, "4")  # and the feed's own SQL says 3 still
    orm.write_date = IN_THE_FUTURE
    assert reconciled(odoo, database, orm=orm).drifted == {
        "location": 0, "product": 0, "lot": 0, "reorder_rule": 0, "stock_level": 0,
        "movement": 1, "patient": 0, "total": 0,
    }  # fmt: skip
    assert database.value("SELECT quantity FROM shared_stock_movements WHERE id = 3") == 4
    assert causes(database) == {
        ("movement", "3"): "a change in Odoo never arrived: were the feed's triggers off?"
    }


def test_floats_that_cancel_out_are_no_drift(odoo: FakeOdoo, database: Database) -> None:
    odoo.commit(("stock_level", "1:8:1", level("1:8:1", "0.1")))
    follow(odoo, database)
    orm = FakeOrm(odoo)
    # 16 digits are what a float keeps of each: their sum is off by more than its own 14th digit.
    orm.extra_quants = [("1:8:1", "123456789.1234567"), ("1:8:1", "-123456789.1234568")]
    assert reconciled(odoo, database, orm=orm, threshold=0).drift == 0
    orm.extra_quants = [("1:8:1", "123456789.1234567"), ("1:8:1", "-123456789.1234")]
    assert reconciled(odoo, database, orm=orm).drifted["stock_level"] == 1


def test_each_kind_of_drift_is_reported_with_its_cause_and_healed(
    odoo: FakeOdoo, database: Database
) -> None:
    for damage in (
        "UPDATE shared_stock_levels SET quantity = quantity + 1 WHERE medication_id = 1",
        "DELETE FROM shared_stock_levels WHERE medication_id = 2",
        "INSERT INTO shared_stock_levels VALUES (3, 8, 99, 7, 0, 1)",
        "UPDATE shared_medications SET name_es = 'Otro' WHERE id = 4",
        "DELETE FROM shared_lots WHERE id = 5",
        "UPDATE shared_lots SET expires_at = expires_at + interval '1 day' WHERE id = 6",
        "UPDATE shared_reorder_rules SET min_quantity = 1 WHERE id = 7",
        "UPDATE shared_locations SET parent_path = 'x' WHERE id = 8",
        "DELETE FROM shared_stock_movements WHERE id = 9",
        "INSERT INTO shared_stock_movements SELECT 999, medication_id, lot_id, from_location_id,"
        " to_location_id, quantity, reference, origin, is_inventory, done_at, done_by, company_id,"
        " generation FROM shared_stock_movements WHERE id = 10",
        "UPDATE shared_medications SET stock_quantity = 12345 WHERE id = 11",
    ):
        database.query(damage)
    report = reconciled(odoo, database)
    assert report.drift == 11
    assert causes(database) == {
        ("stock_level", "1:8:1"): (
            "its row was changed in the shared database by something else than the mirror"
        ),
        ("stock_level", "2:8:2"): (
            "its change never arrived, or its row was deleted in the shared database"
        ),
        ("stock_level", "3:8:99"): (
            "its deletion never arrived, or its row was added in the shared database"
        ),
        ("product", "4"): (
            "its row was changed in the shared database by something else than the mirror"
        ),
        ("lot", "5"): "its change never arrived, or its row was deleted in the shared database",
        ("lot", "6"): (
            "its row was changed in the shared database by something else than the mirror"
        ),
        ("reorder_rule", "7"): (
            "its row was changed in the shared database by something else than the mirror"
        ),
        ("location", "8"): (
            "its row was changed in the shared database by something else than the mirror"
        ),
        ("movement", "9"): (
            "its change never arrived, or its row was deleted in the shared database"
        ),
        ("movement", "999"): (
            "its deletion never arrived, or its row was added in the shared database"
        ),
        ("total", "11"): (
            "shared_medications or its levels were changed by something else than the mirror"
        ),
    }
    assert_equal(odoo, database)
    assert_alerts_are_current(database)
    assert reconciled(odoo, database, threshold=0).drift == 0
    (row,) = database.query("SELECT * FROM drift_reports WHERE record_id = '1:8:1'")
    assert (row["odoo_value"]["quantity"], row["mirror_value"]["quantity"]) == ("1.10", "2.1")
    assert row["healed"]


def test_a_change_that_the_feed_missed_is_told_from_one_made_here(
    odoo: FakeOdoo, database: Database
) -> None:
    odoo.records["stock_level"]["1:8:1"] = level("1:8:1", "77")  # no trigger saw it
    orm = FakeOrm(odoo)
    orm.write_date = IN_THE_FUTURE
    reconciled(odoo, database, orm=orm)
    assert causes(database) == {
        ("stock_level", "1:8:1"): "a change in Odoo never arrived: were the feed's triggers off?"
    }
    assert_equal(odoo, database)


def test_what_is_under_way_is_no_drift(odoo: FakeOdoo, database: Database) -> None:
    # Committed in Odoo, not mirrored yet: before the reconcile, and while it reads.
    odoo.commit(("stock_level", "1:8:1", level("1:8:1", "500")), ("lot", 2, None))
    orm = FakeOrm(odoo)

    def while_reading() -> None:
        odoo.commit(
            ("stock_level", "2:8:2", level("2:8:2", "600")),
            ("stock_level", "3:8:3", None),
            ("movement", 777, movement(3, "1")),
        )

    orm.while_reading = while_reading
    report = reconciled(odoo, database, orm=orm, threshold=0)
    assert report.drift == 0
    assert report.in_flight["lot"] == 1
    assert report.in_flight["stock_level"] >= 1
    assert report.in_flight["movement"] == 1
    follow(odoo, database)
    assert_equal(odoo, database)


def test_the_mirror_is_kept_out_only_for_the_last_and_short_reading_of_the_feed(
    odoo: FakeOdoo, database: Database
) -> None:
    database.query("UPDATE shared_lots SET name = 'x' WHERE id = 1")
    for number in range(60):
        odoo.commit(("stock_level", "1:8:1", level("1:8:1", str(number))))
    page, readings = odoo.page, []

    def watched(cursor: str | None, limit: int, timeout_s: float | None = None) -> Page:
        free = database.query("SELECT name FROM sync_cursors FOR UPDATE SKIP LOCKED")
        answer = page(cursor, limit)
        readings.append((not free, len(answer.changes), timeout_s))
        return answer

    odoo.page = watched  # type: ignore[method-assign]
    assert reconciled(odoo, database).drifted["lot"] == 1
    before = [(changes, timeout_s) for locked, changes, timeout_s in readings if not locked]
    under_lock = [(changes, timeout_s) for locked, changes, timeout_s in readings if locked]
    assert (1, None) in before
    assert under_lock
    assert {changes for changes, _ in under_lock} == {0}
    assert all(timeout_s is not None and timeout_s <= 5 for _, timeout_s in under_lock)


def test_a_feed_that_does_not_end_is_not_read_under_the_lock_for_long(
    odoo: FakeOdoo, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.query("UPDATE shared_lots SET name = 'x' WHERE id = 1")
    page = odoo.page

    def endless(cursor: str | None, limit: int, timeout_s: float | None = None) -> Page:
        answer = page(cursor, limit)
        return Page(answer.cursor, answer.changes, more=timeout_s is not None)

    odoo.page = endless  # type: ignore[method-assign]
    monkeypatch.setattr("clinic.inventory.reconcile.LOCKED_S", 0.3)
    started = time.monotonic()
    with pytest.raises(TransientError, match="more changes than can be read"):
        reconciled(odoo, database)
    assert time.monotonic() - started < 3


def test_drift_is_found_and_none_is_imagined_while_the_mirror_runs(
    odoo: FakeOdoo, database: Database
) -> None:
    stop = threading.Event()

    def traffic() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            key = f"{1 + number % 29}:8:{1 + number % 29}"  # never product 30
            odoo.commit(("stock_level", key, level(key, str(number))))
            time.sleep(0.004)

    writer = threading.Thread(target=traffic)
    reader = threading.Thread(target=follow, args=(odoo, database, 4))
    writer.start()
    reader.start()
    try:
        for _ in range(5):
            assert reconciled(odoo, database, threshold=0).drift == 0
        database.query("UPDATE shared_stock_levels SET quantity = -1 WHERE medication_id = 30")
        assert reconciled(odoo, database).drifted["stock_level"] == 1
    finally:
        stop.set()
        writer.join()
        reader.join()
    follow(odoo, database)
    assert_equal(odoo, database)
    assert set(causes(database)) == {("stock_level", "30:8:30")}


def test_above_the_threshold_it_fails_after_reporting_and_healing(
    odoo: FakeOdoo, database: Database
) -> None:
    database.query("UPDATE shared_stock_levels SET quantity = 0 WHERE medication_id <= 5")
    with pytest.raises(PermanentError, match=r"5 records differed .* more than 4.* healed"):
        reconciled(odoo, database, threshold=4)
    assert database.value("SELECT count(*) FROM drift_reports WHERE healed") == 5
    assert_equal(odoo, database)


def test_a_dry_run_reports_and_changes_nothing(odoo: FakeOdoo, database: Database) -> None:
    database.query("UPDATE shared_stock_levels SET quantity = 0 WHERE medication_id = 1")
    assert reconciled(odoo, database, dry_run=True).drifted["stock_level"] == 1
    assert database.value("SELECT quantity FROM shared_stock_levels WHERE medication_id = 1") == 0
    assert not database.value("SELECT healed FROM drift_reports WHERE entity = 'stock_level'")


def test_what_was_set_aside_is_reported_with_its_reason_and_its_older_value_kept(
    odoo: FakeOdoo, database: Database
) -> None:
    odoo.commit(("product", 1, product({"en_US": ""})))
    follow(odoo, database)
    report = reconciled(odoo, database)
    assert report.drifted["product"] == 1
    assert "no name in any language" in causes(database)["product", "1"]
    assert not database.value("SELECT healed FROM drift_reports")
    assert database.value("SELECT name_en FROM shared_medications WHERE id = 1") == "Product 1"


def test_what_cannot_be_read_is_reported_even_when_the_mirror_has_no_row(
    odoo: FakeOdoo, database: Database
) -> None:
    odoo.commit(
        ("product", 40, product({"en_US": ""})),
        ("movement", 41, movement(1, "1", done_at="yesterday")),
        ("stock_level", "1:8:42", level("1:8:42", "NaN")),
        ("movement", 2, movement(2, "3", done_at="yesterday")),  # an older row is there
    )
    follow(odoo, database)
    for _ in range(2):  # each night until it is corrected
        database.query("DELETE FROM drift_reports")
        report = reconciled(odoo, database)
        assert report.healed == 0
        found = causes(database)
        assert set(found) == {
            ("product", "40"),
            ("movement", "41"),
            ("stock_level", "1:8:42"),
            ("movement", "2"),
        }
        assert all(cause.startswith("set aside by the mirror: ") for cause in found.values())
        assert database.value("SELECT count(*) FROM drift_reports WHERE healed") == 0
        assert database.value("SELECT count(*) FROM sync_rejects") == 4
    assert database.value("SELECT quantity FROM shared_stock_movements WHERE id = 2") == 3


def test_what_postgresql_refused_once_is_healed_when_odoo_s_value_has_become_good(
    odoo: FakeOdoo, database: Database
) -> None:
    odoo.commit(("stock_level", "1:8:1", level("1:8:1", "1e131073")))
    follow(odoo, database)
    assert database.value("SELECT count(*) FROM sync_rejects") == 1
    assert reconciled(odoo, database).healed == 0  # it is refused again
    assert not database.value("SELECT healed FROM drift_reports")
    assert database.value("SELECT times FROM sync_rejects") == 2

    odoo.records["stock_level"]["1:8:1"] = level("1:8:1", "70")  # no trigger saw it
    assert reconciled(odoo, database).healed == 1
    (row,) = database.query("SELECT * FROM drift_reports ORDER BY id DESC LIMIT 1")
    assert row["healed"]
    assert "overflow" in row["probable_cause"]
    assert database.value("SELECT count(*) FROM sync_rejects") == 0
    assert_equal(odoo, database)


def test_a_reset_feed_or_an_unfinished_load_is_left_to_the_mirror(
    odoo: FakeOdoo, database: Database
) -> None:
    database.query("UPDATE shared_stock_levels SET quantity = 0 WHERE medication_id = 1")
    real = odoo.page
    odoo.page = lambda *_, **__: Page("x", [], reset=True, reason="pruned")  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="the feed begins anew"):
        reconciled(odoo, database)
    odoo.page = real  # type: ignore[method-assign]
    database.query("UPDATE sync_cursors SET load_cursor = 'x'")
    with pytest.raises(TransientError, match="a full load is not finished"):
        reconciled(odoo, database)


def test_before_the_first_sync_it_says_so(database: Database) -> None:
    with pytest.raises(TransientError, match="Let sync_inventory run first"):
        reconciled(FakeOdoo(), database)
