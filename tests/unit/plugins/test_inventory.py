"""The wiring of the inventory's tasks: what is closed, what waits, and whose error is told."""

import logging
import signal
import threading
import time
from typing import Any
from unittest.mock import create_autospec

import clinic_airflow.inventory as wiring
import pytest
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSkipException
from clinic.clients.movements_db import MovementsDb
from clinic.clients.odoo import OdooClient
from clinic.clients.odoo_feed import OdooFeed
from clinic.clients.shared_db import SharedDb
from clinic.errors import NotYetError, PermanentError, TransientError
from clinic.inventory.mirror import Summary
from clinic.inventory.reconcile import Report


class Clients:
    """What the hooks would connect to, and how long was waited."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.feed = create_autospec(OdooFeed, instance=True)
        self.odoo = create_autospec(OdooClient, instance=True)
        self.store = create_autospec(SharedDb, instance=True)
        self.ledger = create_autospec(MovementsDb, instance=True)
        self.ledger.claim.return_value = []
        self.ledger.wait.side_effect = threading.Event().wait
        self.waited: list[float] = []
        monkeypatch.setattr(wiring.OdooHook, "get_feed", lambda _: self.feed)
        monkeypatch.setattr(wiring.OdooHook, "get_conn", lambda _: self.odoo)
        monkeypatch.setattr(wiring.SharedDbHook, "get_conn", lambda _, **__: self.store)
        monkeypatch.setattr(wiring.SharedDbHook, "conninfo", lambda _: "")
        monkeypatch.setattr(wiring, "MovementsDb", lambda _: self.ledger)

    def assert_closed(self, *clients: Any) -> None:
        for client in clients:
            client.close.assert_called_once_with()


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Clients:
    return Clients(monkeypatch)


def failing_with(error: Exception) -> Any:
    def fails(*_: Any, **__: Any) -> Any:
        raise error

    return fails


def test_a_permanent_error_is_told_at_once_and_raised_after_a_wait(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def sleep(seconds: float) -> None:
        clients.waited.append(seconds)
        told.extend(record.getMessage() for record in caplog.records)

    monkeypatch.setattr(wiring.InventoryMirror, "follow", failing_with(PermanentError("HTTP 401")))
    monkeypatch.setattr(wiring.time, "sleep", sleep)
    with caplog.at_level(logging.WARNING), pytest.raises(PermanentError, match="HTTP 401"):
        wiring.mirror_inventory(300)
    assert clients.waited == [60]
    assert any("HTTP 401" in line and "60 s" in line for line in told)
    clients.assert_closed(clients.feed)


def mirrors_until(event: threading.Event) -> Any:
    def follow(*_: Any) -> Summary:
        event.wait(30)
        return Summary()

    return follow


def test_movements_are_booked_while_the_mirror_runs(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Event()
    clients.ledger.claim.side_effect = lambda **_: looked.set() or []
    monkeypatch.setattr(wiring.InventoryMirror, "follow", mirrors_until(looked))
    wiring.mirror_inventory(300)
    assert looked.is_set()
    clients.assert_closed(clients.feed, clients.odoo, clients.ledger)


def test_without_a_connection_for_movements_the_mirror_runs_and_says_so(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    missing = AirflowNotFoundException("odoo_movements isn't defined")
    monkeypatch.setattr(wiring.OdooHook, "get_conn", failing_with(missing))
    over = threading.Event()
    over.set()
    monkeypatch.setattr(wiring.InventoryMirror, "follow", mirrors_until(over))
    with caplog.at_level(logging.WARNING):
        wiring.mirror_inventory(300)
    assert "odoo_movements" in caplog.text
    clients.ledger.claim.assert_not_called()


def test_an_unfinished_connection_is_no_busy_loop_either(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring.OdooHook, "get_feed", failing_with(PermanentError("no evented_url")))
    monkeypatch.setattr(wiring.time, "sleep", clients.waited.append)
    with pytest.raises(PermanentError, match="no evented_url"):
        wiring.mirror_inventory(300)
    assert clients.waited == [60]


def test_a_transient_error_is_raised_at_once(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring.InventoryMirror, "follow", failing_with(TransientError("HTTP 503")))
    monkeypatch.setattr(wiring.time, "sleep", clients.waited.append)
    with pytest.raises(TransientError, match="HTTP 503"):
        wiring.mirror_inventory(300)
    assert clients.waited == []


def test_the_wait_ends_when_the_task_is_told_to_end(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_signal(*_: Any) -> None:
        raise KeyboardInterrupt  # Airflow's handler raises too

    monkeypatch.setattr(wiring.InventoryMirror, "follow", failing_with(PermanentError("HTTP 401")))
    before = signal.signal(signal.SIGALRM, on_signal)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            wiring.mirror_inventory(300)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 5


def test_a_failed_reconcile_tells_its_own_error_and_leaves_nothing_open(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients.store.prune.side_effect = TransientError("pruning")
    monkeypatch.setattr(wiring, "reconcile", failing_with(PermanentError("21 records differed")))
    with pytest.raises(PermanentError, match="21 records differed"):
        wiring.reconcile_inventory(20, dry_run=False)
    clients.assert_closed(clients.feed, clients.odoo, clients.store)


def test_a_reconcile_returns_what_it_found_and_closes_its_clients(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Report(compared={"lot": 3})
    monkeypatch.setattr(wiring, "reconcile", lambda *_, **__: report)
    assert wiring.reconcile_inventory(20, dry_run=False) == report.as_dict()
    clients.assert_closed(clients.feed, clients.odoo, clients.store)


def test_pruning_says_how_much_went_and_closes_its_client(clients: Clients) -> None:
    clients.store.prune.return_value = 12
    assert wiring.prune_history() == 12
    clients.store.prune.assert_called_once_with(events_days=7, drift_days=365)
    clients.assert_closed(clients.store)


def test_pruning_that_fails_closes_its_client(clients: Clients) -> None:
    clients.store.prune.side_effect = TransientError("away")
    with pytest.raises(TransientError, match="away"):
        wiring.prune_history()
    clients.assert_closed(clients.store)


def test_the_first_night_of_a_new_installation_is_skipped_not_failed(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "reconcile", failing_with(NotYetError("nothing was mirrored yet")))
    with pytest.raises(AirflowSkipException, match="nothing was mirrored yet"):
        wiring.reconcile_inventory(20, dry_run=False)
    clients.assert_closed(clients.feed, clients.odoo, clients.store)
