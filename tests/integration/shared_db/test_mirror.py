"""The mirror against a real PostgreSQL, fed by a feed in memory."""

import copy
import logging
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from clinic.clients.shared_db import SharedDb
from clinic.errors import PermanentError, TransientError
from clinic.inventory.mirror import InventoryMirror, Settings, Summary
from clinic.shared_db_commands import migrate_database
from support.fake_feed import (
    ENTITIES,
    FakeOdoo,
    level,
    location,
    lot,
    movement,
    patient,
    product,
    rule,
)
from support.mirror_checks import assert_alerts_are_current, assert_equal, assert_totals_are_sums
from support.shared_db import Database
from support.stack_env import needed

pytestmark = pytest.mark.stack

QUICK = Settings(
    poll_s=0.02, stream_again_s=0.3, idle_store_s=0, patience_s=1, refresh_gap_s=(0, 0.05)
)


def mirror(odoo: Any, database: Database, settings: Settings = QUICK) -> InventoryMirror:
    return InventoryMirror(odoo, SharedDb(database.sync_url), SharedDb(database.sync_url), settings)


def follow(odoo: Any, database: Database, seconds: float = 0.4) -> Summary:
    return mirror(odoo, database).follow(time.monotonic() + seconds)


def eventually(holds: Callable[[], bool], seconds: float = 5) -> None:
    give_up_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up_at, "still not so"
        time.sleep(0.01)


@pytest.fixture
def odoo() -> FakeOdoo:
    """A pharmacy with two products: one with enough, one with too little."""
    odoo = FakeOdoo()
    odoo.commit(
        ("location", 1, location("WH", "1/", usage="view")),
        ("location", 8, location("WH/Stock", "1/8/")),
        ("location", 9, location("WH/Stock/Pharmacy", "1/8/9/")),
        ("product", 1, product("Paracetamol", sku="P-1")),
        ("product", 2, product("Amoxicillin", sku="A-1")),
        ("lot", 5, lot(1)),
        ("reorder_rule", 1, rule(1, 8, "10")),
        ("reorder_rule", 2, rule(2, 8, "10")),
        ("stock_level", "1:8:5", level("1:8:5", "6")),
        ("stock_level", "1:9:5", level("1:9:5", "5", "2")),
        ("stock_level", "2:9:0", level("2:9:0", "4")),
        ("movement", 1, movement(1, "11")),
    )
    return odoo


def test_the_first_run_loads_everything(odoo: FakeOdoo, database: Database) -> None:
    summary = follow(odoo, database)
    assert summary.loads == 1
    assert_equal(odoo, database)
    assert_alerts_are_current(database)
    (alert,) = database.query("SELECT * FROM low_stock_alerts")
    assert (alert["name_es"], alert["quantity"], alert["missing_quantity"]) == (
        "Amoxicillin (es)",
        4,
        6,
    )
    (place,) = database.query("SELECT * FROM sync_cursors")
    assert place["fresh_at"] is not None
    assert place["generation"] == 1


def test_a_commit_arrives_with_its_total_its_event_and_its_alert(
    odoo: FakeOdoo, database: Database
) -> None:
    follow(odoo, database)
    with psycopg.connect(database.sync_url, autocommit=True) as listener:
        listener.execute("LISTEN clinica_events")
        odoo.commit(
            ("stock_level", "1:9:5", level("1:9:5", "1.5")), ("movement", 2, movement(1, "3.5"))
        )
        follow(odoo, database)
        numbers = [int(note.payload) for note in listener.notifies(timeout=0.5)]
    assert_equal(odoo, database)
    assert_alerts_are_current(database)
    assert database.value("SELECT stock_quantity FROM shared_medications WHERE id = 1") == Decimal(
        "7.5"
    )
    assert database.value("SELECT quantity FROM low_stock_alerts WHERE rule_id = 1") == Decimal(
        "7.5"
    )
    events = database.query("SELECT * FROM change_events ORDER BY number")
    assert numbers == [event["number"] for event in events[-2:]]
    changed, low = events[-2:]
    assert changed["kind"] == "inventory.changed"
    assert changed["payload"]["medication_ids"] == [1]
    assert low["kind"] == "low_stock.changed"
    assert low["payload"] == {"opened": [1], "closed": []}


def test_patients_are_mirrored_and_events_do_not_say_who_is_one(
    odoo: FakeOdoo, database: Database
) -> None:
    odoo.commit(("patient", 31, patient()), ("patient", 32, patient("Ana", sex=None)))
    follow(odoo, database)
    odoo.commit(("patient", 31, patient("Lucía Núñez")), ("patient", 32, None))
    odoo.commit(("patient", 33, patient("Noa", birth_date="29/02/1984")))
    follow(odoo, database)
    assert database.query(
        "SELECT id, name, birth_date::text, search_text FROM shared_patients"
    ) == [
        {
            "id": 31,
            "name": "Lucía Núñez",
            "birth_date": "1984-02-29",
            "search_text": "lucia nunez p-000001 12345678z",
        }
    ]
    assert database.value("SELECT reason FROM sync_rejects WHERE record_id = '33'").startswith(
        "birth_date: "
    )
    (event,) = database.query("SELECT * FROM change_events WHERE kind = 'patients.changed'")
    assert event["payload"] == {"changes": 2}
    assert not database.query("SELECT * FROM change_events WHERE payload::text LIKE '%patient%'")


def test_what_an_addon_brings_is_loaded_and_goes_with_it(
    odoo: FakeOdoo, database: Database
) -> None:
    odoo.offered = ENTITIES[:-1]
    odoo.commit(("patient", 31, patient()))
    assert follow(odoo, database).loads == 1
    assert database.value("SELECT count(*) FROM shared_patients") == 0
    odoo.offered = ENTITIES
    assert follow(odoo, database).loads == 1
    assert_equal(odoo, database)
    assert database.value("SELECT load_reason FROM sync_cursors") == "entities"
    assert follow(odoo, database).loads == 0
    odoo.offered = ENTITIES[:-1]
    assert follow(odoo, database).loads == 1
    assert database.value("SELECT count(*) FROM shared_patients") == 0
    assert database.value("SELECT count(*) FROM shared_medications") == 2


def test_a_change_that_no_alert_shows_refreshes_nothing(odoo: FakeOdoo, database: Database) -> None:
    follow(odoo, database)
    refreshed_at = database.value("SELECT alerts_refreshed_at FROM sync_cursors")
    odoo.commit(("stock_level", "1:8:5", level("1:8:5", "60")))
    follow(odoo, database)
    assert_equal(odoo, database)
    assert database.value("SELECT alerts_refreshed_at FROM sync_cursors") == refreshed_at
    assert_alerts_are_current(database)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("product", 2, product("Amoxicillin", active=False)), id="archived"),
        pytest.param(("product", 2, product("Amoxicilina", sku="B")), id="renamed"),
        pytest.param(("reorder_rule", 2, None), id="rule deleted"),
        pytest.param(("reorder_rule", 2, rule(1, 8, "100")), id="rule moved to another product"),
        pytest.param(("reorder_rule", 3, rule(2, 9, "50")), id="another rule"),
        pytest.param(("stock_level", "2:9:0", None), id="level gone"),
        pytest.param(("stock_level", "2:8:0", level("2:8:0", "50")), id="enough again"),
        pytest.param(("location", 9, location("WH/Else", "1/9/")), id="shelf moved out"),
    ],
)
def test_alerts_follow_whatever_they_show(
    odoo: FakeOdoo, database: Database, change: tuple[str, Any, Any]
) -> None:
    follow(odoo, database)
    before = database.query("SELECT * FROM low_stock_alerts ORDER BY rule_id")
    odoo.commit(change)
    follow(odoo, database)
    assert database.query("SELECT * FROM low_stock_alerts ORDER BY rule_id") != before
    assert_alerts_are_current(database)
    assert_totals_are_sums(database)


def test_bad_rows_are_set_aside_with_their_reason_and_the_rest_is_kept(
    odoo: FakeOdoo, database: Database
) -> None:
    follow(odoo, database)
    long_name = "Ñandú 💊 " * 250
    odoo.commit(
        ("product", 10, product({"en_US": ""})),
        ("product", 11, product(long_name[:2000])),
        ("product", 12, product("Null \x00 byte")),
        ("product", 13, product("half a pair \ud83d")),
        ("product", 14, product("too dear", list_price="1e14")),
        ("product", 15, product("💊 Emoji")),
        ("stock_level", "11:8:0", level("11:8:0", "NaN")),
        ("stock_level", "15:8:0", level("15:8:0", "1e-9")),
        ("stock_level", "15:9:0", level("15:9:0", "1000000000")),
        ("stock_level", "not a key", level("1:1:1", "1")),
        ("movement", 7, movement(15, "1e-9", done_at="yesterday")),
        ("movement", 8, movement(15, "1000000000.000000001")),
    )
    summary = follow(odoo, database)
    rejects = {
        (row["entity"], row["record_id"]): row["reason"]
        for row in database.query("SELECT * FROM sync_rejects")
    }
    assert set(rejects) == {
        ("product", "10"),
        ("product", "12"),
        ("product", "13"),
        ("product", "14"),
        ("stock_level", "11:8:0"),
        ("stock_level", "not a key"),
        ("movement", "7"),
    }
    assert summary.set_aside == len(rejects)
    assert "no name in any language" in rejects["product", "10"]
    assert "NUL" in rejects["product", "12"]
    assert "finite" in rejects["stock_level", "11:8:0"]
    assert (
        database.value("SELECT name_en FROM shared_medications WHERE id = 11") == long_name[:2000]
    )
    assert database.value("SELECT stock_quantity FROM shared_medications WHERE id = 15") == Decimal(
        "1000000000.000000001"
    )
    assert database.value("SELECT quantity FROM shared_stock_movements WHERE id = 8") == Decimal(
        "1000000000.000000001"
    )

    odoo.commit(("product", 10, product("Named now")), ("movement", 7, None))
    follow(odoo, database)
    left = {row["record_id"] for row in database.query("SELECT record_id FROM sync_rejects")}
    assert left == {"12", "13", "14", "11:8:0", "not a key"}
    assert database.value("SELECT name_en FROM shared_medications WHERE id = 10") == "Named now"


def test_a_value_that_only_postgresql_refuses_stops_no_other_row(
    odoo: FakeOdoo, database: Database
) -> None:
    follow(odoo, database)
    # One digit more than PostgreSQL's numeric can hold: no rule of ours knows it.
    odoo.commit(
        ("stock_level", "1:8:5", level("1:8:5", "1e131073")),
        ("stock_level", "1:9:5", level("1:9:5", "77")),
    )
    summary = follow(odoo, database)
    assert summary.set_aside == 1
    assert "overflow" in database.value("SELECT reason FROM sync_rejects")
    rows = database.query("SELECT * FROM shared_stock_levels WHERE medication_id = 1")
    assert {row["location_id"]: row["quantity"] for row in rows} == {8: Decimal(6), 9: Decimal(77)}
    assert_totals_are_sums(database)


def test_a_restored_odoo_is_loaded_anew_and_the_inventory_is_never_empty(
    odoo: FakeOdoo, database: Database
) -> None:
    follow(odoo, database)
    records = copy.deepcopy(odoo.records)
    del records["product"][2], records["reorder_rule"][2], records["stock_level"]["2:9:0"]
    records["stock_level"]["1:8:5"] = level("1:8:5", "600")
    records["product"] |= {n: product(f"Product {n}") for n in range(100, 160)}

    seen = []
    done = threading.Event()

    def watch() -> None:
        with psycopg.connect(database.readonly_url, autocommit=True) as connection:
            while not done.is_set():
                row = connection.execute(
                    "SELECT count(*), min(stock_quantity) FILTER (WHERE id = 1)"
                    " FROM shared_medications"
                ).fetchone()
                seen.append(row)

    watcher = threading.Thread(target=watch)
    watcher.start()
    odoo.restore(records)
    small_pages = Settings(load_page_changes=5, refresh_gap_s=(0, 0.05), idle_store_s=0)
    summary = mirror(odoo, database, small_pages).follow(time.monotonic() + 1)
    done.set()
    watcher.join()
    assert summary.loads == 1
    assert summary.swept >= 3
    assert_equal(odoo, database)
    assert_alerts_are_current(database)
    assert len(seen) > 10
    assert min(count for count, _ in seen) >= 2
    assert {quantity for _, quantity in seen} == {Decimal(11), Decimal(605)}


def test_a_deletion_between_an_abandoned_full_load_and_the_next_is_not_lost(
    odoo: FakeOdoo, database: Database
) -> None:
    follow(odoo, database)
    store = SharedDb(database.sync_url)
    store.forget_cursor()
    slow = mirror(odoo, database, Settings(load_page_changes=1, idle_store_s=0))
    state, asked = odoo.state, []

    def until_the_lot(entity: str, after: str | None, limit: int) -> Any:
        asked.append(entity)
        if "reorder_rule" in asked:  # the lot was loaded and stamped: here the process is killed
            raise PermanentError("killed")
        return state(entity, after, limit)

    odoo.state = until_the_lot  # type: ignore[method-assign]
    with pytest.raises(PermanentError, match="killed"):
        slow.follow(time.monotonic() + 5)
    odoo.state = state  # type: ignore[method-assign]
    odoo.commit(("lot", 5, None), ("product", 2, None))
    store.forget_cursor()
    store.close()
    follow(odoo, database)
    assert_equal(odoo, database)


def test_a_full_load_keeps_the_older_value_of_what_it_sets_aside(
    odoo: FakeOdoo, database: Database
) -> None:
    follow(odoo, database)
    records = copy.deepcopy(odoo.records)
    records["product"][1] = product({"en_US": ""})  # found unreadable by the decoder
    records["stock_level"]["1:8:5"] = level("1:8:5", "NaN")
    records["stock_level"]["1:9:5"] = level("1:9:5", "1e131073")  # refused by PostgreSQL only
    odoo.restore(records)
    assert follow(odoo, database).set_aside == 3
    assert database.value("SELECT name_en FROM shared_medications WHERE id = 1") == "Paracetamol"
    assert database.value("SELECT sum(quantity) FROM shared_stock_levels WHERE lot_id = 5") == 11
    assert_totals_are_sums(database)
    assert database.value("SELECT count(*) FROM sync_rejects") == 3


def test_a_broken_stream_is_polled_and_then_tried_again(
    odoo: FakeOdoo, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    follow(odoo, database)
    odoo.stream_broken = TransientError("a line of 3 bytes that is not JSON")
    running = mirror(odoo, database)
    thread = threading.Thread(target=running.follow, args=(time.monotonic() + 2,))
    with caplog.at_level(logging.INFO, "clinic"):
        thread.start()
        odoo.commit(("stock_level", "1:8:5", level("1:8:5", "1")))
        eventually(
            lambda: database.value("SELECT stock_quantity FROM shared_medications WHERE id=1") == 6
        )
        assert running.summary.polled_pages > 0
        streams = odoo.streams
        odoo.stream_broken = None
        thread.join()
    assert running.summary.stream_breaks >= 1
    assert "stream broke, polling meanwhile: a line of 3 bytes" in caplog.text
    assert odoo.streams > streams  # and it was taken up again
    assert_equal(odoo, database)


def test_an_odoo_that_stays_away_is_reported_and_one_that_comes_back_is_not(
    odoo: FakeOdoo, database: Database
) -> None:
    follow(odoo, database)
    odoo.broken = TransientError("Odoo clinic.change.feed: HTTP 503")
    with pytest.raises(TransientError, match="HTTP 503"):
        follow(odoo, database, seconds=10)
    threading.Timer(0.4, setattr, (odoo, "broken", None)).start()
    odoo.commit(("stock_level", "1:8:5", level("1:8:5", "1")))
    follow(odoo, database, seconds=1.5)
    assert_equal(odoo, database)


def test_a_refused_key_is_not_tried_again(odoo: FakeOdoo, database: Database) -> None:
    odoo.broken = PermanentError("Odoo clinic.change.feed: HTTP 401")
    started = time.monotonic()
    with pytest.raises(PermanentError, match="HTTP 401"):
        follow(odoo, database, seconds=10)
    assert time.monotonic() - started < 2


def test_a_database_that_goes_away_for_a_moment_loses_nothing(
    odoo: FakeOdoo, database: Database
) -> None:
    follow(odoo, database)
    running = mirror(odoo, database)
    thread = threading.Thread(target=running.follow, args=(time.monotonic() + 2,))
    thread.start()
    cut = 0
    for number in range(30):
        odoo.commit(("stock_level", "1:8:5", level("1:8:5", str(number))))
        if number % 10 == 5:
            cut += _cut_connections(database)
        time.sleep(0.03)
    thread.join()
    assert cut >= 2
    assert_equal(odoo, database)
    assert_alerts_are_current(database)


def test_a_statement_that_takes_too_long_is_tried_again(odoo: FakeOdoo, database: Database) -> None:
    follow(odoo, database)
    store = SharedDb(database.sync_url, statement_timeout_s=0.2)
    with psycopg.connect(database.owner_url) as blocker:
        blocker.execute("LOCK TABLE shared_stock_levels IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TransientError, match="statement timeout"):
            _delete_a_level(store)
    assert store.lock().cursor == odoo._head()  # on a new connection
    store.close()


def _delete_a_level(store: SharedDb) -> None:
    with store.transaction("testing"):
        store.lock()
        store.delete("stock_level", [(1, 8, 5)])


def test_a_schema_that_changes_under_a_running_mirror_costs_one_new_connection(
    odoo: FakeOdoo, database: Database
) -> None:
    follow(odoo, database)
    running = mirror(odoo, database)
    thread = threading.Thread(target=running.follow, args=(time.monotonic() + 4,))
    thread.start()
    for number in range(1, 4):  # so that its statements are prepared
        odoo.commit(("stock_level", "2:9:0", level("2:9:0", str(number))))
        eventually(
            lambda number=number: (
                database.value("SELECT stock_quantity FROM shared_medications WHERE id = 2")
                == number
            )
        )
    database.query("UPDATE schema_views SET sha256 = 'older'")
    migrate_database(database.owner_url)  # drops and creates the views
    odoo.commit(("stock_level", "2:9:0", level("2:9:0", "5")))
    thread.join()
    assert_equal(odoo, database)
    assert_alerts_are_current(database)


def _cut_connections(database: Database) -> int:
    with psycopg.connect(needed("POSTGRES_ADMIN_URL"), autocommit=True) as admin:
        return len(
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name = 'clinic odoo.inventory'",
                (database.name,),
            ).fetchall()
        )


def test_a_second_mirror_waits_and_then_says_who_is_in_the_way(
    odoo: FakeOdoo, database: Database
) -> None:
    first = SharedDb(database.sync_url)
    first.open()
    second = SharedDb(database.sync_url, lock_wait_s=0.2)
    with pytest.raises(TransientError, match="another process mirrors into it"):
        second.open()
    first.close()
    eventually(lambda: second.open() is not None)
    second.close()


def test_a_page_read_before_another_writer_moved_on_is_not_written(
    odoo: FakeOdoo, database: Database
) -> None:
    follow(odoo, database)
    late = mirror(odoo, database)
    late._stored_cursor = database.value("SELECT cursor FROM sync_cursors")
    odoo.commit(("stock_level", "1:8:5", level("1:8:5", "3")))
    page = odoo.page(late._stored_cursor, 10)
    odoo.commit(("stock_level", "1:8:5", level("1:8:5", "4")))
    follow(odoo, database)  # another one, which knows the newer state
    with pytest.raises(TransientError, match="another writer moved the cursor"):
        late._take(page)
    late._store.close()
    assert_equal(odoo, database)


def test_a_kill_between_a_page_and_its_refresh_is_healed_as_soon_as_the_next_run_begins(
    odoo: FakeOdoo, database: Database
) -> None:
    follow(odoo, database)
    database.query("UPDATE shared_stock_levels SET quantity = 0 WHERE medication_id = 2")
    database.query("UPDATE sync_cursors SET alerts_version = alerts_version + 1")
    thread = threading.Thread(target=follow, args=(odoo, database, 6))
    thread.start()
    eventually(lambda: not database.value("SELECT alerts_dirty FROM sync_cursors"), seconds=4)
    assert thread.is_alive()
    assert_alerts_are_current(database)
    thread.join()


def test_staleness_can_be_told_while_nothing_happens(odoo: FakeOdoo, database: Database) -> None:
    follow(odoo, database)
    before = database.value("SELECT fresh_at FROM sync_cursors")
    running = mirror(odoo, database)
    running._stored_cursor = database.value("SELECT cursor FROM sync_cursors")
    running._store.open()
    running._take(odoo.page(odoo._head(), 10))
    running._store.close()
    assert database.value("SELECT fresh_at FROM sync_cursors") > before
    assert (
        database.value("SELECT count(*) FROM change_events WHERE kind = 'inventory.changed'") == 0
    )


def test_consumables_and_other_peoples_entities_are_passed_over(
    odoo: FakeOdoo, database: Database
) -> None:
    odoo.commit(("product", 3, product("Consultation", storable=False)))
    del odoo.log[-1]
    odoo.log.append([("product", 3)])
    follow(odoo, database)
    assert database.value("SELECT count(*) FROM shared_medications") == 2
    odoo.records["appointment"] = {1: {"at": "noon"}}
    page = odoo.page(odoo._head(), 10)
    assert page.changes == []
    assert database.value("SELECT count(*) FROM sync_rejects") == 0
