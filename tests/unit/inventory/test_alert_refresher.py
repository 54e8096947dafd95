"""AlertRefresher: at once when it is quiet, together when it is not, and never forgotten."""

import threading
import time
from dataclasses import dataclass, field

import pytest
from clinic.errors import PermanentError, TransientError
from clinic.inventory.mirror import AlertRefresher


@dataclass(frozen=True)
class Refreshed:
    opened: tuple[int, ...] = ()
    closed: tuple[int, ...] = ()
    took_ms: float = 1.0


@dataclass
class FakeAlerts:
    takes_s: float = 0.0
    errors: list[Exception] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    closed: bool = False
    refreshed: threading.Event = field(default_factory=threading.Event)

    def refresh_alerts(self) -> Refreshed:
        self.at.append(time.monotonic())
        if self.errors:
            raise self.errors.pop(0)
        time.sleep(self.takes_s)
        self.refreshed.set()
        return Refreshed()

    def close(self) -> None:
        self.closed = True


def test_it_refreshes_as_soon_as_it_is_woken() -> None:
    alerts = FakeAlerts()
    refresher = AlertRefresher(alerts, (0.1, 0.6))
    with refresher.running():
        refresher.wake()
        assert alerts.refreshed.wait(10)
    assert alerts.closed


def test_many_wishes_are_one_refresh_and_none_waits_a_second() -> None:
    alerts = FakeAlerts(takes_s=0.02)
    refresher = AlertRefresher(alerts, (0.2, 0.6))
    with refresher.running():
        end = time.monotonic() + 1
        while time.monotonic() < end:
            refresher.wake()
            time.sleep(0.005)
        before_stop = len(alerts.at)
    assert 2 <= before_stop <= 6
    assert max(b - a for a, b in zip(alerts.at, alerts.at[1:], strict=False)) < 1


def test_a_wish_during_a_refresh_is_refreshed_again() -> None:
    alerts = FakeAlerts(takes_s=0.2)
    refresher = AlertRefresher(alerts, (0.0, 0.0))
    with refresher.running():
        refresher.wake()
        while not alerts.at:
            time.sleep(0.005)
        refresher.wake()
        time.sleep(0.5)
        assert len(alerts.at) == 2


def test_the_end_refreshes_what_is_left() -> None:
    alerts = FakeAlerts()
    with AlertRefresher(alerts, (0.1, 0.6)).running():
        pass
    assert len(alerts.at) >= 1


def test_a_database_that_is_away_is_asked_again() -> None:
    alerts = FakeAlerts(errors=[TransientError("away")])
    refresher = AlertRefresher(alerts, (0.0, 0.05))
    with refresher.running():
        refresher.wake()
        assert alerts.refreshed.wait(3)
        refresher.check()


def test_a_refusal_reaches_whoever_runs_it() -> None:
    refusals: list[Exception] = [PermanentError("no right to refresh")] * 100
    alerts = FakeAlerts(errors=refusals)
    refresher = AlertRefresher(alerts, (0.0, 0.05))
    with pytest.raises(PermanentError, match="no right to refresh"):
        _wake_and_wait(refresher)


def _wake_and_wait(refresher: AlertRefresher) -> None:
    with refresher.running():
        refresher.wake()
        time.sleep(0.3)
