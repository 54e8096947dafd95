"""The schema goes up, down and up again, and each role may do what it should and no more."""

import subprocess
from pathlib import Path

import psycopg
import pytest
from clinic.shared_db_commands import describe_database, migrate_database, rollback_database
from support.shared_db import Database, created

pytestmark = pytest.mark.stack

SYNC_TABLES = [
    "shared_locations",
    "shared_medications",
    "shared_lots",
    "shared_reorder_rules",
    "shared_stock_levels",
    "shared_stock_movements",
    "shared_patients",
    "sync_cursors",
    "sync_rejects",
    "drift_reports",
    "change_events",
]


def schema_of(database: Database) -> str:
    dump = subprocess.run(
        ["pg_dump", "--schema-only", "--restrict-key=same", database.owner_url],
        check=True,
        capture_output=True,
        text=True,
    )
    return dump.stdout


def test_up_down_up_is_the_same_as_up_once() -> None:
    with created() as database:
        assert migrate_database(database.owner_url) > 0
        up_once = schema_of(database)
        assert "shared_stock_levels" in up_once

        assert rollback_database(database.owner_url, None) > 0
        down = schema_of(database)
        assert not any(table in down for table in SYNC_TABLES)
        assert "low_stock" not in down

        migrate_database(database.owner_url)
        assert schema_of(database) == up_once


def test_migrating_twice_changes_nothing(database: Database) -> None:
    before = schema_of(database)
    assert migrate_database(database.owner_url) == 0
    assert schema_of(database) == before


def test_a_killed_migration_does_not_lock_the_next_one_out(database: Database) -> None:
    database.query("INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 999999)")
    assert migrate_database(database.owner_url) == 0


def test_a_changed_view_is_created_anew(database: Database) -> None:
    database.query("UPDATE schema_views SET sha256 = 'older'")
    database.query("COMMENT ON VIEW low_stock IS 'older'")
    migrate_database(database.owner_url)
    comment = database.value("SELECT obj_description('low_stock'::regclass)")
    assert comment == "What low_stock_alerts stores, computed now."


def test_every_materialized_view_can_be_refreshed_concurrently(database: Database) -> None:
    views = database.query(
        "SELECT c.oid::regclass::text AS name, EXISTS (SELECT FROM pg_index AS i"
        " WHERE i.indrelid = c.oid AND i.indisunique AND i.indpred IS NULL) AS has_unique"
        " FROM pg_class AS c WHERE c.relkind = 'm'"
    )
    assert views == [{"name": "low_stock_alerts", "has_unique": True}]


def test_every_table_and_view_says_what_it_is(database: Database) -> None:
    silent = database.query(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'v', 'm') AND relname NOT LIKE '%yoyo%'"
        " AND relname <> 'schema_views'"
        " AND obj_description(oid) IS NULL AND NOT EXISTS"
        " (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')"
    )
    assert silent == []


def test_the_reference_is_generated_from_the_comments(database: Database) -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "shared-database.md"
    assert page.read_text() == describe_database(database.owner_url)


def allowed(url: str, statement: str) -> bool:
    with psycopg.connect(url) as connection:
        try:
            connection.execute(statement)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
            return False
        finally:
            connection.rollback()
    return True


def test_the_sync_role_writes_the_mirror_and_refreshes_but_changes_no_schema(
    database: Database,
) -> None:
    for table in SYNC_TABLES:
        assert allowed(database.sync_url, f"DELETE FROM {table}"), table  # noqa: S608
    refresh = "REFRESH MATERIALIZED VIEW CONCURRENTLY low_stock_alerts"
    assert allowed(database.sync_url, refresh)
    assert not allowed(database.sync_url, "DROP TABLE shared_lots")
    assert not allowed(database.sync_url, "CREATE TABLE mine (a int)")


def test_the_api_role_only_reads_the_mirror(database: Database) -> None:
    for table in [
        "shared_medications",
        "shared_patients",
        "low_stock_alerts",
        "change_events",
        "sync_cursors",
    ]:
        assert allowed(database.api_url, f"SELECT * FROM {table}"), table  # noqa: S608
        if table.startswith("shared"):
            assert not allowed(database.api_url, f"DELETE FROM {table}"), table  # noqa: S608
    assert not allowed(database.api_url, "SELECT * FROM sync_rejects")
    assert not allowed(database.api_url, "REFRESH MATERIALIZED VIEW low_stock_alerts")


def test_analysts_read_the_inventory_and_not_what_is_behind_it(database: Database) -> None:
    for table in ["shared_medications", "shared_stock_movements", "low_stock_alerts"]:
        assert allowed(database.readonly_url, f"SELECT * FROM {table}"), table  # noqa: S608
    for table in [
        "shared_patients",
        "sync_rejects",
        "sync_cursors",
        "change_events",
        "drift_reports",
    ]:
        assert not allowed(database.readonly_url, f"SELECT * FROM {table}"), table  # noqa: S608
    assert not allowed(database.readonly_url, "DELETE FROM shared_medications")
