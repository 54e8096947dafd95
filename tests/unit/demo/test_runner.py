"""DayRunner: the order and the pace in which a plan is carried out, and how it stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from clinic.demo.day import Dispense, Event, Line, Lot
from clinic.demo.load import Site
from clinic.demo.runner import DayRunner
from clinic.errors import PermanentError, TransientError
from hypothesis import given, settings
from hypothesis import strategies as st

SITE = Site(1, 1, 8, 9, 4, 5, 1, 2, 3)


class NoOdoo:
    """Nothing to prepare: what is tested here never reaches Odoo."""

    def call(self, model: str, method: str, *arguments: Any, **named: Any) -> Any:
        return []


class Recording(DayRunner):
    """Notes when each event begins and ends instead of carrying it out."""

    def __init__(self, parallel: int, takes_s: float = 0.0) -> None:
        super().__init__(NoOdoo(), SITE, "test", parallel=parallel)
        self.log: list[tuple[str, int]] = []
        self.begun_at: dict[int, float] = {}
        self.most_at_once = 0
        self._takes_s = takes_s
        self._now = 0
        self._lock = threading.Lock()

    def carry_out(self, event: Event) -> None:
        with self._lock:
            self.begun_at[event.number] = time.monotonic()
            self.log.append(("begin", event.number))
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        time.sleep(self._takes_s)
        with self._lock:
            self._now -= 1
            self.log.append(("end", event.number))


def a_day(products: Sequence[set[int]], every_s: float = 0.0) -> list[Event]:
    return [
        Dispense(n, n * every_s, tuple(Line(Lot(p, "L"), Decimal(1)) for p in sorted(touched)))
        for n, touched in enumerate(products)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(1, 4), min_size=1, max_size=3), max_size=25), st.integers(1, 4))
def test_events_that_share_a_product_happen_one_after_the_other_in_their_order(
    products: list[set[int]], parallel: int
) -> None:
    events = a_day(products)
    runner = Recording(parallel)
    report = runner.run(events, paced=False)
    assert report.events.total() == len(events)
    place = {entry: index for index, entry in enumerate(runner.log)}
    for earlier in events:
        for later in events[earlier.number + 1 :]:
            if earlier.products & later.products:
                assert place["end", earlier.number] < place["begin", later.number]


def test_others_happen_at_once_and_not_more_than_asked() -> None:
    runner = Recording(parallel=3, takes_s=0.02)
    runner.run(a_day([{n} for n in range(12)]), paced=False)
    assert runner.most_at_once == 3


def test_an_event_does_not_begin_before_its_second() -> None:
    runner = Recording(parallel=2)
    started = time.monotonic()
    report = runner.run(a_day([{n} for n in range(6)], every_s=0.05))
    for number, begun_at in runner.begun_at.items():
        assert begun_at - started >= number * 0.05
    assert report.seconds >= 0.25
    assert report.late_s < 2


def test_a_plan_that_cannot_be_kept_says_how_late_it_was() -> None:
    runner = Recording(parallel=1, takes_s=0.05)
    report = runner.run(a_day([{1}] * 6, every_s=0.001))
    assert 0.2 < report.late_s < 5
    assert report.rate_per_s < 30


def test_everyone_is_told_of_each_event_that_is_done() -> None:
    done: list[int] = []
    Recording(parallel=1).run(
        a_day([{1}, {2}, {3}]), paced=False, on_done=lambda event: done.append(event.number)
    )
    assert done == [0, 1, 2]


def test_a_failed_event_stops_the_day() -> None:
    class Failing(Recording):
        def carry_out(self, event: Event) -> None:
            super().carry_out(event)
            if event.number == 2:
                raise TransientError("Odoo is gone")

    runner = Failing(parallel=1)
    with pytest.raises(TransientError, match="Odoo is gone"):
        runner.run(a_day([{1}] * 8, every_s=0.01))
    assert max(runner.begun_at) == 2


def test_a_refused_event_says_which_it_was() -> None:
    runner = DayRunner(NoOdoo(), SITE, "test")
    event = a_day([{41}])[0]
    runner._units_of_measure[41] = 1
    with pytest.raises(PermanentError, match=r"Event 0 \(Dispense, products \[41\]\).*no lot 'L'"):
        runner.run([event], paced=False)


def test_an_empty_day_is_over_at_once() -> None:
    assert Recording(parallel=2).run([]).events.total() == 0
