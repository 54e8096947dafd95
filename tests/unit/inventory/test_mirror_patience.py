"""How long the mirror waits for a system that is away: from its first failure on."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
from clinic.clients.odoo_feed import OdooFeed, Page
from clinic.clients.shared_db import SharedDb
from clinic.errors import TransientError
from clinic.inventory.mirror import InventoryMirror, Settings

AT_C0 = SimpleNamespace(
    cursor="c0",
    generation=1,
    load_cursor=None,
    alerts_dirty=False,
    has_rejects=False,
    entities=["location"],
)
IDLE_S = 18


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_idle_time_does_not_count_as_outage() -> None:
    clock = Clock()
    gone = TransientError("Odoo clinic.change.feed: Connection refused")

    def stream(*_arguments: object) -> Iterator[Page]:
        yield Page(cursor="c0", changes=[], more=False, reset=False, reason=None)
        clock.now += IDLE_S  # a quiet clinic; then Odoo stops
        raise gone

    store, alerts = create_autospec(SharedDb), create_autospec(SharedDb)
    store.open.return_value = store.lock.return_value = AT_C0
    alerts.refresh_alerts.return_value = None
    feed = create_autospec(OdooFeed)
    feed.entities.return_value = ["location"]
    feed.stream.side_effect = stream
    feed.page.side_effect = gone
    settings = Settings(patience_s=60, stream_again_s=10**6)
    mirror = InventoryMirror(feed, store, alerts, settings, clock=clock, sleep=clock.sleep)
    started = time.monotonic()
    with pytest.raises(TransientError, match="Connection refused"):
        mirror.follow(until=1000)
    assert IDLE_S + 60 < clock.now < IDLE_S + 60 + 6
    assert time.monotonic() - started < 30  # it slept by the test's clock
