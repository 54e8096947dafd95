"""What of a page can be kept, and what is set aside with which words."""

import re
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from clinic.inventory.changes import Decoded, decode, parse_key, touched_medications
from hypothesis import given
from hypothesis import strategies as st
from support.fake_feed import level, location, lot, movement, patient, product, rule


def change(entity: str, record_id: Any, values: Any, **fields: Any) -> dict[str, Any]:
    op = "delete" if values is None else "upsert"
    return {"entity": entity, "id": record_id, "op": op, "values": values} | fields


def only_row(decoded: Decoded, entity: str) -> dict[str, Any]:
    assert decoded.rejects == []
    (row,) = decoded.batches[entity].upserts.values()
    return row


def only_reason(*changes: Any) -> str:
    decoded = decode(changes)
    assert not any(batch.upserts or batch.deletes for batch in decoded.batches.values())
    (reject,) = decoded.rejects
    return reject.reason


def test_each_entity_becomes_a_row_of_its_table() -> None:
    decoded = decode(
        [
            change("location", 8, location()),
            change("product", 1, product()),
            change("lot", 5, lot(1)),
            change("reorder_rule", 2, rule(1, 8, "10")),
            change("stock_level", "1:8:5", level("1:8:5", "12.5", "2")),
            change("movement", 9, movement(1, "3")),
            change("patient", 31, patient()),
        ]
    )
    assert decoded.rejects == []
    assert [len(batch.upserts) for batch in decoded.batches.values()] == [1] * 7
    assert decoded.batches["stock_level"].upserts == {
        (1, 8, 5): {
            "medication_id": 1,
            "location_id": 8,
            "lot_id": 5,
            "quantity": Decimal("12.5"),
            "reserved_quantity": Decimal(2),
        }
    }
    assert decoded.batches["movement"].upserts[9]["done_by"] == "Ana"
    assert decoded.batches["lot"].upserts[5]["medication_id"] == 1
    assert decoded.batches["patient"].upserts[31]["birth_date"] == date(1984, 2, 29)


@pytest.mark.parametrize(
    ("names", "spanish", "english"),
    [
        ({"en_US": "Aspirin", "es_ES": "Aspirina"}, "Aspirina", "Aspirin"),
        ({"en_US": "Aspirin", "es_419": "Aspirina"}, "Aspirina", "Aspirin"),
        ({"en_US": "Aspirin", "es_ES": " "}, "Aspirin", "Aspirin"),
        ({"en_US": "Aspirin", "es_ES": None}, "Aspirin", "Aspirin"),
        ({"fr_FR": "Aspirine"}, "Aspirine", "Aspirine"),
        ({"es_ES": "Aspirina"}, "Aspirina", "Aspirina"),
    ],
)
def test_a_name_falls_back_to_another_language(
    names: dict[str, Any], spanish: str, english: str
) -> None:
    row = only_row(decode([change("product", 1, product(names))]), "product")
    assert (row["name_es"], row["name_en"]) == (spanish, english)


@pytest.mark.parametrize("name", ["x" * 2000, "💊 Ácido", "é" * 2000])
def test_long_and_strange_names_are_kept(name: str) -> None:
    row = only_row(decode([change("product", 1, product({"en_US": name}))]), "product")
    assert row["name_en"] == name


@pytest.mark.parametrize("quantity", ["1e-9", "1000000000", "-3", "0.1", "1000000000.000000001"])
def test_tiny_and_huge_quantities_are_kept_exactly(quantity: str) -> None:
    row = only_row(
        decode([change("stock_level", "1:8:0", level("1:8:0", quantity))]), "stock_level"
    )
    assert row["quantity"] == Decimal(quantity)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (change("product", 1, product({})), "no name in any language"),
        (change("product", 1, product({"en_US": " ", "es_ES": None})), "no name in any language"),
        (change("product", 1, product(None)), "name"),
        (change("product", 1, product("a\x00b")), "NUL"),
        (change("product", 1, product("half \ud83d")), "surrogate"),
        (change("product", 1, product(list_price="1e12")), "list_price"),
        (change("product", 1, product(list_price="NaN")), "list_price"),
        (change("stock_level", "1:8:0", level("1:8:0", "NaN")), "quantity: .*finite"),
        (change("stock_level", "1:8:0", level("1:8:0", "Infinity")), "quantity: .*finite"),
        (change("stock_level", "1:8:0", level("1:8:0", "many")), "quantity"),
        (change("stock_level", "1:8", level("1:8:0", "1")), "product:location:lot"),
        (change("stock_level", "1:8:-1", level("1:8:0", "1")), "product:location:lot"),
        (change("stock_level", f"{2**31}:8:0", level("1:8:0", "1")), "product:location:lot"),
        (change("product", 2**31, product()), "less than or equal"),
        (change("product", "one", product()), "integer"),
        (change("lot", 1, {"name": "L"}), "product_id: Field required"),
        (change("lot", 1, lot(1, expires_at="2026-01-01T00:00:00")), "expires_at: .*timezone"),
        (change("lot", 1, None, op="upsert"), "values: missing"),
        (change("lot", 1, lot(1), op="replace"), "op"),
        ({"entity": "lot"}, "id: Field required"),
        ("garbage", "change: "),
        (None, "change: "),
    ],
)
def test_what_cannot_be_kept_is_set_aside_with_its_reason(bad: Any, words: str) -> None:
    assert re.search(words, only_reason(bad))


def test_one_bad_row_takes_no_other_with_it() -> None:
    decoded = decode([change("product", 1, product({})), change("product", 2, product())])
    assert list(decoded.batches["product"].upserts) == [2]
    assert [(each.entity, each.record_id) for each in decoded.rejects] == [("product", "1")]


def test_reasons_do_not_repeat_the_value() -> None:
    assert "s3cret" not in only_reason(change("stock_level", "1:8:0", level("1:8:0", "s3cret")))


def test_the_last_word_on_a_record_counts() -> None:
    decoded = decode([change("lot", 1, lot(1)), change("lot", 1, None)])
    assert decoded.batches["lot"].deletes == {1}
    assert decoded.batches["lot"].upserts == {}
    decoded = decode([change("lot", 1, None), change("lot", 1, lot(2))])
    assert decoded.batches["lot"].deletes == set()
    assert decoded.batches["lot"].upserts[1]["medication_id"] == 2


def test_a_product_that_odoo_keeps_no_stock_of_has_no_row() -> None:
    decoded = decode([change("product", 1, product(storable=False))])
    assert decoded.batches["product"].deletes == {1}


def test_other_readers_entities_are_passed_over() -> None:
    decoded = decode([change("appointment", 1, {"at": "noon"})])
    assert decoded.is_empty
    assert decoded.changes == 1


def test_totals_are_touched_by_products_levels_and_rules() -> None:
    decoded = decode(
        [
            change("product", 1, product()),
            change("product", 2, None),
            change("stock_level", "3:8:0", level("3:8:0", "1")),
            change("stock_level", "4:8:0", None),
            change("reorder_rule", 7, rule(5, 8, "1")),
            change("lot", 1, lot(99)),
            change("movement", 1, movement(98, "1")),
        ]
    )
    assert touched_medications(decoded.batches) == {1, 2, 3, 4, 5}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_nothing_that_json_can_hold_makes_it_fail(anything: Any) -> None:
    decoded = decode([anything, {"entity": "product", "id": 1, "op": "upsert", "values": anything}])
    for reject in decoded.rejects:
        (reject.reason + reject.payload + reject.record_id + reject.entity).encode()


@given(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_a_level_key_is_read_back(product_id: int, location_id: int, lot_id: int) -> None:
    key = f"{product_id}:{location_id}:{lot_id}"
    assert parse_key("stock_level", key) == (product_id, location_id, lot_id)
