"""The outlook of a medication: worked out by hand here, and what holds whatever the figures."""

import itertools
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inventory_api.figures import Batch, days_until_empty, history, outlook, whole_packs

TODAY = date(2026, 11, 24)
amounts = st.decimals(0, 100_000, places=2)
expiries = st.none() | st.integers(-100, 2000).map(lambda days: TODAY + timedelta(days=days))
stock = st.lists(st.builds(Batch, amounts, expiries), max_size=8)


def look(consumed, batches, *, minimum=None, maximum=None, pack_size=None, known_days=365):
    return outlook(
        today=TODAY,
        known_since=TODAY - timedelta(days=known_days),
        consumed=Decimal(consumed),
        batches=batches,
        minimum=minimum,
        maximum=maximum,
        pack_size=pack_size,
    )


def test_ninety_in_ninety_days_and_sixty_left_last_two_months():
    found = look(90, [Batch(Decimal(60), None)])
    assert (found.monthly_average, found.months_of_cover) == (30, 2)
    assert found.stock_out_on == TODAY + timedelta(days=60)
    assert "30 cada 30 días" in found.reasoning_es
    assert str(found.stock_out_on) in found.reasoning_es


def test_what_expires_before_it_is_used_does_not_count():
    soon = Batch(Decimal(50), TODAY + timedelta(days=20))
    found = look(90, [Batch(Decimal(10), None), soon])
    assert found.stock_out_on == TODAY + timedelta(days=30)  # 20 of the lot, then the 10
    assert "30 caducarán antes de usarse" in found.reasoning_es


def test_what_has_expired_is_not_used():
    found = look(90, [Batch(Decimal(500), TODAY)])
    assert found.stock_out_on == TODAY
    assert "0 utilizables de 500" in found.reasoning_es


@pytest.mark.parametrize(("consumed", "known_days"), [(0, 365), (-5, 365), (90, 6)])
def test_nothing_is_predicted_from_too_little(consumed, known_days):
    found = look(consumed, [Batch(Decimal(5), None)], known_days=known_days)
    assert (found.monthly_average, found.months_of_cover, found.stock_out_on) == (None, None, None)
    assert found.reasoning_es


def test_an_order_fills_up_to_the_maximum_in_whole_packs():
    found = look(
        90,
        [Batch(Decimal(7), None)],
        minimum=Decimal(10),
        maximum=Decimal(100),
        pack_size=Decimal(20),
    )
    assert found.suggested_order == 100
    assert look(90, [Batch(Decimal(10), None)], minimum=Decimal(10)).suggested_order == 0


@given(missing=amounts, pack=st.decimals("0.5", 1000, places=1))
def test_an_order_is_whole_packs_and_the_fewest_that_are_enough(missing, pack):
    order = whole_packs(missing, pack)
    assert order % pack == 0
    assert order >= missing
    assert order - pack < missing or order == 0


@given(batches=stock, daily=st.decimals("0.01", 1000, places=2), more=amounts)
def test_more_stock_never_lasts_shorter(batches, daily, more):
    days, _ = days_until_empty(batches, daily, TODAY)
    longer, _ = days_until_empty([*batches, Batch(more, None)], daily, TODAY)
    assert 0 <= days <= longer


@given(batches=stock, daily=st.decimals("0.01", 1000, places=2))
def test_what_is_lost_is_no_more_than_there_was(batches, daily):
    _, lost = days_until_empty(batches, daily, TODAY)
    assert -1 <= lost <= sum(batch.quantity for batch in batches) + 1


@given(batches=stock, consumed=amounts, minimum=st.none() | amounts, maximum=st.none() | amounts)
def test_every_outlook_explains_itself(batches, consumed, minimum, maximum):
    found = look(consumed, batches, minimum=minimum, maximum=maximum)
    assert found.reasoning_es
    assert found.reasoning_en
    assert found.suggested_order >= 0
    assert (found.monthly_average is None) == (consumed == 0)


@given(
    current=amounts,
    changes=st.dictionaries(st.integers(0, 29), st.decimals(-100, 100, places=1)),
)
def test_the_history_ends_at_the_stock_of_today_and_follows_the_movements(current, changes):
    days = {TODAY - timedelta(days=ago): change for ago, change in changes.items()}
    series = history(current, list(days.items()), TODAY - timedelta(days=29), TODAY)
    assert len(series) == 30
    assert series[-1] == (TODAY, current)
    for (_, before), (day, after) in itertools.pairwise(series):
        assert after - before == days.get(day, 0)
