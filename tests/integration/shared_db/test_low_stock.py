"""low_stock_alerts against a computation by hand, for whatever stock, rules and locations."""

from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row
from support.shared_db import Database

pytestmark = pytest.mark.stack

QUANTITIES = st.decimals("-20", "20", places=3) | st.sampled_from(
    [Decimal("1e-9"), Decimal("1e9"), Decimal(0)]
)
IDS = st.integers(1, 2)
# 1 and 11, 2 and 21: that one id begins like another makes no subtree.
PLACE_IDS = (1, 2, 3, 11, 21)
PLACES = st.sampled_from(PLACE_IDS)


@st.composite
def inventories(draw: st.DrawFn) -> dict[str, Any]:
    """A tree of locations, some of which are not known; rules; levels; products, some unknown."""
    parents = {
        place: draw(st.sampled_from((0, *PLACE_IDS[:number])))
        for number, place in enumerate(PLACE_IDS)
    }
    known = set(PLACE_IDS) - draw(st.sets(PLACES, max_size=1))
    return {
        "parents": parents,
        "known": known,
        "products": draw(st.dictionaries(IDS, st.sampled_from([True, True, False]))),
        "rules": draw(
            st.lists(
                st.tuples(IDS, PLACES, QUANTITIES, st.sampled_from([True, True, False])),
                min_size=1,
                max_size=6,
            )
        ),
        "levels": draw(
            st.dictionaries(
                st.tuples(IDS, PLACES, st.integers(0, 1)), QUANTITIES, min_size=3, max_size=15
            )
        ),
    }


def path(parents: dict[int, int], place: int) -> list[int]:
    return [*path(parents, parents[place]), place] if place else []


def expected(inventory: dict[str, Any]) -> dict[int, Decimal]:
    """Return what each rule that is not met holds, by its number."""
    parents, known = inventory["parents"], inventory["known"]
    alerts = {}
    for number, (product, place, minimum, active) in enumerate(inventory["rules"]):
        if not active or inventory["products"].get(product, True) is False:
            continue
        held = Decimal(0)
        for (what, where, _lot), quantity in inventory["levels"].items():
            below = where in known and place in known and place in path(parents, where)
            if what == product and (where == place or below):
                held += quantity
        if held < minimum:
            alerts[number] = held
    return alerts


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(inventory=inventories())
def test_low_stock_alerts_are_what_a_person_would_count(
    database: Database, inventory: dict[str, Any]
) -> None:
    with psycopg.connect(database.owner_url, row_factory=dict_row) as connection:
        cursor = connection.cursor()
        cursor.executemany(
            "INSERT INTO shared_locations (id, name, usage, active, parent_path, generation)"
            " VALUES (%s, 'x', 'internal', true, %s, 1)",
            [
                (place, "".join(f"{step}/" for step in path(inventory["parents"], place)))
                for place in inventory["known"]
            ],
        )
        cursor.executemany(
            "INSERT INTO shared_medications (id, name_es, name_en, uom, active, tracking,"
            " generation) VALUES (%s, 'x', 'x', 'Units', %s, 'none', 1)",
            list(inventory["products"].items()),
        )
        cursor.executemany(
            "INSERT INTO shared_reorder_rules (id, medication_id, location_id, min_quantity,"
            " max_quantity, active, generation) VALUES (%s, %s, %s, %s, 0, %s, 1)",
            [(number, *rule) for number, rule in enumerate(inventory["rules"])],
        )
        cursor.executemany(
            "INSERT INTO shared_stock_levels (medication_id, location_id, lot_id, quantity,"
            " reserved_quantity, generation) VALUES (%s, %s, %s, %s, 0, 1)",
            [(*key, quantity) for key, quantity in inventory["levels"].items()],
        )
        cursor.execute("REFRESH MATERIALIZED VIEW low_stock_alerts")
        rows = cursor.execute("SELECT * FROM low_stock_alerts").fetchall()
        connection.rollback()
    assert {row["rule_id"]: row["quantity"] for row in rows} == expected(inventory)
    for row in rows:
        assert row["missing_quantity"] == row["min_quantity"] - row["quantity"] > 0


def test_one_row_a_rule_is_held_by_the_database(database: Database) -> None:
    with psycopg.connect(database.owner_url) as connection:
        index = connection.execute(
            "SELECT indisunique FROM pg_index WHERE indrelid = 'low_stock_alerts'::regclass"
            " AND indexrelid = 'low_stock_alerts_rule_id_idx'::regclass"
        ).fetchone()
    assert index == (True,)
