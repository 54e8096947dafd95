"""What other systems ask for is booked in Odoo exactly once, or ends as a conflict."""

import json
import os
import signal
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal

import httpx
import psycopg
import pytest
from clinic.clients.movements_db import MovementsDb
from clinic.errors import PermanentError
from support.odoo import ADMIN, BOOKER
from support.processes import wait_until
from support.stack_env import ROOT

from .conftest import Desk

pytestmark = [pytest.mark.stack, pytest.mark.timeout(280)]

KINDS = (("out", "2", -2), ("in", "3", 3), ("adjustment", "-1", -1), ("count", "50", None))
STEPS = 9  # 2 of the claim, 4 of the call, at least 2 of the note, and none: it lives


def test_killed_between_any_two_steps_a_movement_is_booked_once(desk: Desk) -> None:
    deaths = 0
    for at_step in range(1, STEPS):
        kind, quantity, delta = KINDS[at_step % len(KINDS)]
        product = desk.product("100")
        request = desk.ask(product, kind, quantity)
        status = desk.run(at_step)
        assert status in (0, -signal.SIGKILL)
        deaths += status == -signal.SIGKILL
        assert desk.run() == 0
        assert desk.request(request)["state"] == "applied", at_step
        assert desk.moves(product) == 1, at_step
        assert desk.left(product) == (50 if delta is None else 100 + delta), at_step
        found = desk.odoo.sql(
            "SELECT id FROM stock_move WHERE product_id = %s AND state = 'done'", product
        )
        assert [(move,) for move in desk.request(request)["odoo_move_ids"]] == found
    assert deaths >= STEPS - 2


def test_a_thousand_calls_with_one_id_are_one_movement(desk: Desk) -> None:
    product = desk.product("100")
    request = {
        "request_id": str(uuid.uuid4()), "kind": "out", "medication_id": product,
        "location_id": desk.shelf, "quantity": "2",
    }  # fmt: skip

    def call(_: int) -> str:
        with httpx.Client(timeout=120, trust_env=False) as http:
            answer = http.post(
                f"{desk.odoo.url}/json/2/clinic.movement.request/apply",
                headers=desk.odoo.headers(BOOKER),
                json={"request": request},
            )
        answer.raise_for_status()
        return json.dumps(answer.json(), sort_keys=True)

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(call, range(1000)))
    assert len(set(answers)) == 1, set(answers)
    assert '"applied"' in answers[0]
    assert (desk.moves(product), desk.left(product)) == (1, 98)


def test_two_writers_share_what_is_due(desk: Desk) -> None:
    product = desk.product("100")
    requests = [desk.ask(product, "out", "1") for _ in range(20)]
    with desk.writer().running(), desk.writer().running():
        wait_until(
            lambda: (
                not desk.database.query("SELECT 1 FROM movement_requests WHERE state <> 'applied'")
            ),
            "everything is applied",
            120,
        )
    assert (desk.moves(product), desk.left(product)) == (len(requests), 80)


def test_two_counts_at_once_of_what_odoo_has_none_of_do_not_add_up(desk: Desk) -> None:
    product = desk.product("0")
    for _ in range(4):
        desk.ask(product, "count", "5")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: desk.book_all(), range(4)))
    desk.book_all()
    assert desk.left(product) == 5


def test_odoo_that_is_down_is_waited_for(desk: Desk) -> None:
    product = desk.product("100")
    desk.odoo.kill()
    request = desk.ask(product, "out", "2")
    with desk.writer().running():
        wait_until(lambda: desk.request(request)["error_code"] == "transient", "an attempt")
        assert desk.request(request)["state"] in ("pending", "applying")
        desk.odoo.start()
        wait_until(lambda: desk.request(request)["state"] == "applied", "it is booked", 90)
    assert (desk.moves(product), desk.left(product)) == (1, 98)
    assert desk.request(request)["error_detail"] is None


def test_a_key_that_odoo_does_not_know_makes_movements_wait_not_fail(desk: Desk) -> None:
    request = desk.ask(desk.product(), "out", "2")
    writer = desk.writer(key="wrong")
    with closing(writer._ledger):
        assert writer.step() == 1
    row = desk.request(request)
    assert (row["state"], row["error_code"]) == ("pending", "transient")
    assert "API key" in row["error_detail"]


def test_each_conflict_is_shown_with_both_sides(desk: Desk) -> None:
    gauze, pills = desk.product("10"), desk.product("0", tracking="lot")
    archived = desk.product("10", active=False)
    (old,) = desk.odoo.call(
        "stock.lot", "create", ADMIN,
        vals_list=[{"name": "OLD", "product_id": pills, "expiration_date": "2020-01-01"}],
    )  # fmt: skip
    asked = {
        "not_enough_stock": desk.ask(gauze, "out", "11"),
        "lot_expired": desk.ask(pills, "in", "1", lot_id=old),
        "lot_unknown": desk.ask(pills, "out", "1", lot_name="NO"),
        "product_unknown": desk.ask(2**31 - 1, "out", "1"),
        "product_archived": desk.ask(archived, "out", "1"),
        "location_unknown": desk.ask(gauze, "out", "1", location_id=2**31 - 1),
        "count_differs": desk.ask(gauze, "count", "7", expected_quantity="9"),
        "refused": desk.ask(gauze, "in", "0.0000001"),
    }
    desk.book_all()
    for code, request in asked.items():
        conflict = desk.conflict(request)
        assert (desk.request(request)["state"], conflict["code"]) == ("conflict", code)
        assert conflict["ours"]["detail"], code
        assert conflict["theirs"]["kind"], code
    assert desk.conflict(asked["count_differs"])["ours"]["quantity"] == "10"
    assert (desk.left(gauze), desk.left(pills), desk.left(archived)) == (10, 0, 10)


def test_a_person_resolves_conflicts(desk: Desk) -> None:
    product = desk.product("10")
    forced, dropped, counted = (desk.ask(product, "out", "11") for _ in range(3))
    desk.book_all()
    ledger = MovementsDb(desk.database.sync_url)
    try:
        number = desk.conflict(dropped)["id"]
        assert ledger.resolve(number, "discard", "ana") == dropped
        assert ledger.resolve(number, "discard", "ana") == dropped
        with pytest.raises(PermanentError, match="was resolved"):
            ledger.resolve(number, "apply_anyway", "ana")
        with pytest.raises(PermanentError, match="no conflict"):
            ledger.resolve(10**9, "discard", "ana")
        ledger.resolve(desk.conflict(forced)["id"], "apply_anyway", "ana", note="it is gone")
        desk.book_all()
        assert (desk.request(forced)["state"], desk.left(product)) == ("applied", -1)
        recount = ledger.resolve(
            desk.conflict(counted)["id"], "recount", "ana",
            counted=Decimal("4"), expected=Decimal("-1"),
        )  # fmt: skip
    finally:
        ledger.close()
    desk.book_all()
    assert desk.request(recount)["recount_of"] == counted
    assert (desk.request(recount)["state"], desk.left(product)) == ("applied", 4)
    assert [desk.request(each)["state"] for each in (dropped, counted)] == ["discarded"] * 2


def test_the_change_comes_back_by_the_feed_and_the_request_shows_applied(desk: Desk) -> None:
    product = desk.product("100")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "include"),
        "ODOO_URL": desk.odoo.url,
        "ODOO_EVENTED_URL": desk.odoo.evented_url,
        "ODOO_DB": desk.odoo.database,
        "ODOO_FEED_API_KEY": desk.odoo.headers()["Authorization"].removeprefix("bearer "),
        "ODOO_MOVEMENTS_API_KEY": desk.key,
        "SHARED_DB_SYNC_URL": desk.database.sync_url,
    }
    command = [sys.executable, "-m", "clinic.cli", "sync", "--seconds", "120"]
    level = "SELECT quantity FROM shared_stock_levels WHERE medication_id = %s"
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as sync:
        try:
            wait_until(lambda: desk.database.query(level, product), "the first load", 90)
            with psycopg.connect(desk.database.api_url, autocommit=True) as ear:
                ear.execute("LISTEN clinica_events")
                request = desk.ask(product, "out", "2")
                wait_until(lambda: desk.request(request)["state"] == "applied", "it is booked")
                wait_until(lambda: desk.database.value(level, product) == 98, "it came back")
                heard = [int(note.payload) for note in ear.notifies(timeout=1)]
        finally:
            sync.kill()
    moved = desk.database.query(
        "SELECT origin FROM shared_stock_movements WHERE medication_id = %s", product
    )
    assert moved == [{"origin": "Ward 3 · ana"}]
    told = desk.database.query(
        "SELECT number, payload FROM change_events WHERE kind = 'movement.changed' ORDER BY number"
    )
    assert [event["payload"]["state"] for event in told] == ["pending", "applying", "applied"]
    assert {event["number"] for event in told} <= set(heard)
