"""The rules by which movements are booked."""

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from unittest.mock import create_autospec

import pytest
from clinic.clients.movements_db import MovementsDb
from clinic.clients.odoo_movements import OdooMovements
from clinic.errors import PermanentError, TransientError
from clinic.inventory.movements import (
    CODES,
    LONGEST_PAUSE_S,
    MovementWriter,
    Request,
    asked_of_odoo,
    pause_s,
    read_answer,
)
from hypothesis import given
from hypothesis import strategies as st

GOOD = {
    "state": "applied",
    "code": None,
    "ours": {},
    "theirs": {},
    "picking": "OUT/1",
    "moves": [1],
}
BAD = {
    "state": "conflict",
    "code": "refused",
    "ours": {},
    "theirs": {},
    "picking": None,
    "moves": [],
}


def request(**values: Any) -> Request:
    return Request(
        **{
            "id": uuid.UUID(int=1), "client": "till", "person": "ana", "kind": "out",
            "medication_id": 7, "location_id": 8, "lot_id": None, "lot_name": None,
            "quantity": Decimal(2), "expected_quantity": None, "reason": None, "reference": None,
            "source": "api", "occurred_at": datetime(2026, 1, 1, tzinfo=UTC),
            "apply_anyway": False, "attempts": 1, "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        } | values
    )  # fmt: skip


def writer(answer: Any, **values: Any) -> tuple[MovementWriter, Any]:
    ledger, booking = create_autospec(MovementsDb), create_autospec(OdooMovements)
    ledger.claim.return_value = [request(**values)]
    booking.apply.side_effect = [answer]
    return MovementWriter(ledger, booking), ledger


@given(st.decimals(min_value="-1e12", max_value="1e12", places=9))
def test_a_quantity_reaches_odoo_with_all_its_digits(quantity: Decimal) -> None:
    sent = asked_of_odoo(request(quantity=quantity))["quantity"]
    assert Decimal(sent) == quantity
    assert "E" not in sent.upper()


@given(st.integers(min_value=0, max_value=10**9))
def test_the_pause_never_shrinks_and_has_an_end(attempts: int) -> None:
    assert 0 < pause_s(attempts) <= pause_s(attempts + 1) <= LONGEST_PAUSE_S


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(GOOD)), inner),
    )
)
def test_whatever_odoo_answers_is_an_answer_or_tried_again(answer: Any) -> None:
    try:
        read = read_answer(answer)
    except TransientError:
        return
    assert read.code is None or read.code in CODES


def test_a_booked_movement_is_noted_with_its_documents() -> None:
    book, ledger = writer(GOOD)
    assert book.step() == 1
    ((_, answer), _) = ledger.applied.call_args
    assert (answer.picking, answer.moves) == ("OUT/1", (1,))


def test_a_conflict_is_noted_for_a_person() -> None:
    book, ledger = writer(BAD)
    book.step()
    ledger.refused.assert_called_once()
    ledger.applied.assert_not_called()


def test_what_odoo_refuses_becomes_a_conflict_with_its_words() -> None:
    book, ledger = writer(PermanentError("kind is one of in, out"))
    book.step()
    ((_, answer), _) = ledger.refused.call_args
    assert (answer.code, answer.ours["detail"]) == ("refused", "kind is one of in, out")


@pytest.mark.parametrize("answer", [TransientError("no answer"), {"state": "applied"}])
def test_what_may_succeed_later_is_put_off_however_often(answer: Any) -> None:
    book, ledger = writer(answer, attempts=1000)
    book.step()
    ledger.put_off.assert_called_once()
    assert ledger.put_off.call_args.args[2] == LONGEST_PAUSE_S
    ledger.refused.assert_not_called()


def test_only_the_id_names_a_lot_when_both_are_there() -> None:
    asked = asked_of_odoo(request(lot_id=5, lot_name="A1"))
    assert (asked["lot_id"], asked["lot_name"]) == (5, None)
