"""What must hold between a fake Odoo and the shared database once nothing is under way."""

from decimal import Decimal

from support.fake_feed import FakeOdoo
from support.shared_db import Database


def assert_equal(odoo: FakeOdoo, database: Database) -> None:
    """Every record of Odoo is mirrored, nothing else is, and every total is the sum."""
    tables = {
        "location": "shared_locations",
        "product": "shared_medications",
        "lot": "shared_lots",
        "reorder_rule": "shared_reorder_rules",
        "movement": "shared_stock_movements",
        "patient": "shared_patients",
    }
    for entity, table in tables.items():
        ids = {row["id"] for row in database.query(f"SELECT id FROM {table}")}  # noqa: S608
        assert ids == set(odoo.records[entity]), entity
    levels = {
        f"{row['medication_id']}:{row['location_id']}:{row['lot_id']}": (
            row["quantity"],
            row["reserved_quantity"],
        )
        for row in database.query("SELECT * FROM shared_stock_levels")
    }
    assert levels == {
        key: (Decimal(values["quantity"]), Decimal(values["reserved_quantity"]))
        for key, values in odoo.records["stock_level"].items()
    }
    assert_totals_are_sums(database)


def assert_totals_are_sums(database: Database) -> None:
    wrong = database.query(
        """
        SELECT m.id, m.stock_quantity, l.quantity FROM shared_medications AS m
        LEFT JOIN (SELECT medication_id, sum(quantity) AS quantity, sum(reserved_quantity) AS
          reserved FROM shared_stock_levels GROUP BY 1) AS l ON l.medication_id = m.id
        LEFT JOIN (SELECT medication_id, sum(min_quantity) AS min, sum(max_quantity) AS max
          FROM shared_reorder_rules WHERE active GROUP BY 1) AS r ON r.medication_id = m.id
        WHERE (m.stock_quantity, m.reserved_quantity, m.min_stock_level, m.max_stock_level)
          IS DISTINCT FROM (coalesce(l.quantity, 0), coalesce(l.reserved, 0), r.min, r.max)
        """
    )
    assert wrong == []


def assert_alerts_are_current(database: Database) -> None:
    assert database.query("SELECT * FROM low_stock ORDER BY rule_id") == database.query(
        "SELECT * FROM low_stock_alerts ORDER BY rule_id"
    )
    assert not database.value("SELECT alerts_dirty FROM sync_cursors")
