"""What the closing act of the demo chooses and prints, without a stack."""

from __future__ import annotations

import io
from datetime import date, timedelta
from decimal import Decimal

import pytest
from clinic.demo.day import Demand, Level, Lot, Place, Snapshot
from clinic.demo.show import Shelf, Timing, _print_timing, print_where_to_look
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

TODAY = date(2026, 11, 24)


def a_level(
    product: int, on_hand: str, *, lot: str = "A", reserved: str = "0", good_for_days: int = 90
) -> Level:
    return Level(
        Lot(product, lot),
        Place.PHARMACY,
        Decimal(on_hand),
        Decimal(reserved),
        TODAY + timedelta(days=good_for_days),
    )


def a_shelf(minimums: dict[int, int], *levels: Level) -> Shelf:
    demands = tuple(Demand(product, low, 3 * low) for product, low in minimums.items())
    return Shelf(Snapshot(demands, levels), TODAY)


def test_the_medicine_nearest_to_its_minimum_is_chosen() -> None:
    shelf = a_shelf({1: 10, 2: 10, 3: 10}, a_level(1, "30"), a_level(2, "12"), a_level(3, "9"))
    nearest = shelf.nearest_to_minimum()
    assert nearest is not None
    assert nearest.product_id == 2


@pytest.mark.parametrize("on_hand", ["9", "9.5"])
def test_one_that_is_below_already_is_not_chosen(on_hand: str) -> None:
    assert a_shelf({1: 10}, a_level(1, on_hand)).nearest_to_minimum() is None


@pytest.mark.parametrize(
    "level",
    [
        pytest.param(a_level(1, "10", good_for_days=0), id="on its last day"),
        pytest.param(a_level(1, "10", good_for_days=-5), id="expired"),
        pytest.param(a_level(1, "10", reserved="10"), id="promised to others"),
    ],
)
def test_what_cannot_be_handed_out_is_not_chosen(level: Level) -> None:
    assert a_shelf({1: 10}, level).nearest_to_minimum() is None


def test_parts_of_a_unit_are_left_on_the_shelf() -> None:
    shelf = a_shelf({1: 10}, a_level(1, "10.5"))
    demand = shelf.nearest_to_minimum()
    assert demand is not None
    assert [line.units for line in shelf.lines_to_fall_below(demand)] == [1]


def test_the_store_room_is_another_shelf() -> None:
    level = Level(Lot(1, "A"), Place.STORE, Decimal(50))
    assert a_shelf({1: 10}, level).nearest_to_minimum() is None


@given(
    st.lists(
        st.tuples(
            st.decimals(0, 30, places=1), st.integers(0, 5), st.integers(-20, 60)
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 60),
)  # fmt: skip
def test_what_is_dispensed_takes_it_just_below_and_is_there(
    lots: list[tuple[Decimal, int, int]], low: int
) -> None:
    levels = [
        a_level(1, str(units), lot=f"L{n}", reserved=str(min(reserved, int(units))),
                good_for_days=good_for_days)
        for n, (units, reserved, good_for_days) in enumerate(lots)
    ]  # fmt: skip
    shelf = a_shelf({1: low}, *levels)
    chosen = shelf.nearest_to_minimum()
    if chosen is None:
        return
    lines = shelf.lines_to_fall_below(chosen)
    total = sum(level.on_hand for level in levels)
    left = total - sum(line.units for line in lines)
    assert total >= low > left
    assert left >= low - 1, "no more than it takes"
    free = {level.lot: level.on_hand - level.reserved for level in levels
            if level.expires_on and level.expires_on > TODAY}  # fmt: skip
    assert all(line.units <= free[line.lot] for line in lines)


def printed(environment: dict[str, str]) -> str:
    out = io.StringIO()
    print_where_to_look(environment, Console(file=out, width=100))
    return out.getvalue()


def test_links_logins_and_the_way_out_are_printed_whole() -> None:
    password = "p" * 32
    text = printed({
        "ODOO_PUBLIC_URL": "https://odoo.clinica.localhost:18200",
        "AIRFLOW_PUBLIC_URL": "https://airflow.clinica.localhost:18200",
        "ODOO_LOGIN": "admin",
        "ODOO_PASSWORD": "[red]odd[/red]",
        "DEMO_USERS": f'{{"demo-administracion": "{password}"}}',
        "CLINIC_STATE": ".state",
        "CA_FILE": ".state/tls/ca.crt",
    })  # fmt: skip
    for part in (
        "https://odoo.clinica.localhost:18200",
        "https://airflow.clinica.localhost:18200",
        "[red]odd[/red]",
        f"demo-administracion  {password}",
        ".state/tls/ca.crt",
        "make down",
    ):
        assert part in text
    assert "RabbitMQ" not in text, "what is not there is not offered"
    assert max(len(line) for line in text.splitlines()) <= 100


def test_the_time_is_printed_as_measured() -> None:
    out = io.StringIO()
    _print_timing(Console(file=out, width=100), Timing(12.34, 15.06, 0.2))
    assert "15.1 ms from Odoo's commit" in out.getvalue()
    assert "12.3 ms by NOTIFY" in out.getvalue()
