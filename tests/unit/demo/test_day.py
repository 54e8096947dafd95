"""plan_day: the same day from the same seed, and nothing that a pharmacy could not do."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from decimal import Decimal

import pytest
from clinic.demo.day import (
    Count,
    Demand,
    Dispense,
    Event,
    Level,
    Line,
    Lot,
    Place,
    Receive,
    Restock,
    Return,
    Snapshot,
    WriteOff,
    expected_levels,
    plan_day,
)
from hypothesis import given, settings
from hypothesis import strategies as st

TODAY = date(2026, 11, 24)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """A pharmacy of up to five products, some with nothing, some with expired or reserved stock."""
    demands = []
    levels = []
    for product in range(1, draw(st.integers(1, 5)) + 1):
        low = draw(st.integers(1, 60))
        demands.append(
            Demand(
                product,
                low,
                low + draw(st.integers(0, 100)),
                draw(st.none() | st.just(9)),
                draw(st.sampled_from((1, 10))),
            )
        )
        for number in range(draw(st.integers(0, 3))):
            lot = Lot(product, f"L{number}")
            expires_on = draw(
                st.none() | st.integers(-30, 30).map(lambda days: TODAY + timedelta(days=days))
            )
            for place in Place:
                on_hand = draw(st.decimals(-5, 80, places=1))
                reserved = draw(st.integers(0, max(0, int(on_hand))))
                levels.append(Level(lot, place, on_hand, Decimal(reserved), expires_on))
    return Snapshot(tuple(demands), tuple(levels))


days = st.builds(
    lambda seed, snapshot: (snapshot, plan_day(
        seed, snapshot, rate_per_s=10, seconds=8, today=TODAY)),
    st.integers(0, 2**32),
    snapshots(),
)  # fmt: skip


def a_snapshot(products: int = 40) -> Snapshot:
    return Snapshot(
        tuple(Demand(p, min_units=20, max_units=60, pack_units=10) for p in range(1, products + 1)),
        tuple(
            Level(Lot(p, name), place, Decimal(40), expires_on=TODAY + timedelta(days=good_for))
            for p in range(1, products + 1)
            for name, good_for in (("old", -3 if p % 10 == 0 else 10), ("new", 300))
            for place in Place
        ),
    )


def test_the_same_seed_gives_the_same_day() -> None:
    def plan(seed: int) -> list[Event]:
        return plan_day(seed, a_snapshot(), rate_per_s=5, seconds=60, today=TODAY)

    assert plan(7) == plan(7)
    assert plan(7) != plan(8)


@given(
    st.floats(0.1, 60, allow_nan=False),
    st.floats(0.5, 10, allow_nan=False),
)
def test_events_come_at_the_chosen_rate_in_order_and_within_the_day(
    rate_per_s: float, seconds: float
) -> None:
    events = plan_day(1, a_snapshot(3), rate_per_s=rate_per_s, seconds=seconds, today=TODAY)
    assert len(events) == round(rate_per_s * seconds)
    times = [event.at_s for event in events]
    assert times == sorted(times)
    assert [event.number for event in events] == list(range(len(events)))
    assert all(0 <= at_s <= seconds + 1 / rate_per_s for at_s in times)


def test_a_day_is_mostly_dispensing_and_has_everything() -> None:
    events = plan_day(3, a_snapshot(), rate_per_s=10, seconds=200, today=TODAY)
    kinds = Counter(type(event) for event in events)
    assert set(kinds) == {Dispense, Restock, Receive, Count, Return, WriteOff}
    assert 0.6 < kinds[Dispense] / len(events) < 0.85
    assert all(count < len(events) * 0.2 for kind, count in kinds.items() if kind is not Dispense)


@settings(max_examples=150, deadline=None)
@given(days)
def test_nothing_leaves_a_shelf_that_is_not_there(day: tuple[Snapshot, list[Event]]) -> None:
    snapshot, events = day
    levels = {(level.lot, level.place): level.on_hand for level in snapshot.levels}
    promised = {(level.lot, level.place): level.reserved for level in snapshot.levels}
    for event in events:
        for lot, place, units in event.moves():
            key = (lot, place)
            levels[key] = levels.get(key, Decimal(0)) + units
            if units < 0:
                assert levels[key] >= promised.get(key, 0), f"{event} takes what is not free"
    assert {key: units for key, units in levels.items() if units} == expected_levels(
        snapshot, events
    )


@settings(max_examples=150, deadline=None)
@given(days)
def test_what_has_expired_is_only_thrown_away_or_counted(
    day: tuple[Snapshot, list[Event]],
) -> None:
    snapshot, events = day
    expires_on = {level.lot: level.expires_on for level in snapshot.levels}
    for event in events:
        if isinstance(event, Receive):
            assert event.expires_on > TODAY
            expires_on.update({line.lot: event.expires_on for line in event.lines})
        elif isinstance(event, Dispense | Restock):
            for line in event.lines:
                last_day = expires_on[line.lot]
                assert last_day is None or last_day > TODAY
        elif isinstance(event, WriteOff):
            last_day = expires_on[event.line.lot]
            assert last_day is not None
            assert last_day <= TODAY


@settings(max_examples=150, deadline=None)
@given(days)
def test_no_more_is_returned_than_was_dispensed(day: tuple[Snapshot, list[Event]]) -> None:
    _, events = day
    dispensed: Counter[tuple[int, Lot]] = Counter()
    for event in events:
        if isinstance(event, Dispense):
            for line in event.lines:
                dispensed[event.number, line.lot] += int(line.units)
        elif isinstance(event, Return):
            for line in event.lines:
                dispensed[event.of, line.lot] -= int(line.units)
                assert dispensed[event.of, line.lot] >= 0


@settings(max_examples=150, deadline=None)
@given(days)
def test_every_event_moves_whole_positive_units_and_counts_find_another_figure(
    day: tuple[Snapshot, list[Event]],
) -> None:
    for event in day[1]:
        if isinstance(event, Count):
            assert event.found_units != event.system_units
            assert event.found_units >= 0
        elif isinstance(event, WriteOff):
            assert event.line.units > 0  # all that is there: it may be a part of a unit
        else:
            lines: tuple[Line, ...] = event.lines  # type: ignore[attr-defined]
            assert lines
            assert all(line.units > 0 and line.units == line.units // 1 for line in lines)
            # One line a lot: what Odoo would otherwise be asked to do twice.
            assert len({line.lot for line in lines}) == len(lines)


@settings(max_examples=100, deadline=None)
@given(days)
def test_a_delivery_brings_a_lot_of_its_own(day: tuple[Snapshot, list[Event]]) -> None:
    snapshot, events = day
    known = {level.lot for level in snapshot.levels}
    for event in events:
        if isinstance(event, Receive):
            for line in event.lines:
                assert line.lot not in known
                known.add(line.lot)


def test_the_same_seed_on_the_same_day_again_brings_new_lots() -> None:
    first = plan_day(7, a_snapshot(2), rate_per_s=10, seconds=20, today=TODAY)
    evening = Snapshot(
        a_snapshot(2).demands,
        tuple(
            Level(lot, place, units)
            for (lot, place), units in expected_levels(a_snapshot(2), first).items()
        ),
    )
    second = plan_day(7, evening, rate_per_s=10, seconds=20, today=TODAY)

    def received(events: list[Event]) -> set[Lot]:
        return {line.lot for e in events if isinstance(e, Receive) for line in e.lines}

    assert received(first)
    assert received(second)
    assert not received(first) & received(second) & {level.lot for level in evening.levels}


def test_the_lot_that_expires_first_is_dispensed_first() -> None:
    events = plan_day(5, a_snapshot(1), rate_per_s=1, seconds=6, today=TODAY)
    dispensed = [line.lot.name for e in events if isinstance(e, Dispense) for line in e.lines]
    assert dispensed
    assert dispensed[0] == "old"


def test_an_empty_pharmacy_begins_with_a_delivery() -> None:
    empty = Snapshot((Demand(1, 10, 30),), ())
    events = plan_day(1, empty, rate_per_s=1, seconds=10, today=TODAY)
    assert isinstance(events[0], Receive)
    assert any(isinstance(event, Dispense) for event in events)


@pytest.mark.parametrize(("rate_per_s", "seconds"), [(0, 10), (-1, 10), (1, 0), (1, -5)])
def test_a_day_has_a_rate_and_a_length(rate_per_s: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        plan_day(1, a_snapshot(1), rate_per_s=rate_per_s, seconds=seconds, today=TODAY)


def test_a_day_needs_a_product() -> None:
    with pytest.raises(ValueError, match="at least one product"):
        plan_day(1, Snapshot((), ()), rate_per_s=1, seconds=1, today=TODAY)
