"""The demo in a real Odoo: loaded once however often, and a day that ends as it was planned.

On the stack's Odoo. What is left there is the demo's own, and three archived products.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from clinic.clients.odoo_rpc import OdooRpc
from clinic.demo.catalogue import Catalogue, Category, Medicine, fetch_wheel, read_catalogue
from clinic.demo.clinic import Clinic, invent_clinic
from clinic.demo.day import (
    Count,
    Receive,
    Restock,
    Return,
    WriteOff,
    expected_levels,
    plan_day,
)
from clinic.demo.day import Dispense as DispenseEvent
from clinic.demo.load import NAMESPACE, Odoo, load_clinic, read_site
from clinic.demo.runner import DayRunner, read_levels, read_snapshot
from clinic.errors import TransientError
from support.stack_env import needed, stack_env

pytestmark = pytest.mark.stack

TODAY = datetime.now(UTC).date()


@pytest.fixture(scope="module")
def odoo() -> OdooRpc:
    return OdooRpc.from_environment(stack_env())


@pytest.fixture(scope="module")
def clinic() -> Clinic:
    wheel = fetch_wheel(Path(needed("CLINIC_CACHE")))
    return invent_clinic(read_catalogue(wheel), today=TODAY)


@pytest.fixture(scope="module")
def loaded(odoo: OdooRpc, clinic: Clinic) -> OdooRpc:
    load_clinic(odoo, clinic)
    return odoo


def counts(odoo: Odoo) -> dict[str, int]:
    """How many records of each kind there are, archived ones too."""
    return {
        model: odoo.call(model, "search_count", [], context={"active_test": False})
        for model in (
            "ir.model.data", "product.product", "product.template", "product.category",
            "product.supplierinfo", "res.partner", "stock.location", "stock.lot", "stock.quant",
            "stock.move", "stock.move.line", "stock.warehouse.orderpoint",
        )
    }  # fmt: skip


def test_the_published_list_is_the_one_this_program_knows(clinic: Clinic) -> None:
    medicines = [stocked.medicine for stocked in clinic.medicines]
    assert len(medicines) == 442
    assert len(clinic.categories) == 171
    assert len({medicine.name_es for medicine in medicines}) == 442
    assert len({medicine.name_en for medicine in medicines}) == 442
    assert sum(medicine.dosage is not None for medicine in medicines) > 400
    assert "Amoxicilina, " in " ".join(medicine.name_es for medicine in medicines)


def test_loading_again_makes_nothing(loaded: OdooRpc, clinic: Clinic) -> None:
    before = counts(loaded)
    report = load_clinic(loaded, clinic)
    assert not report.created
    assert counts(loaded) == before


def test_the_company_is_a_clinic_in_spain_that_counts_in_euros(odoo: OdooRpc) -> None:
    (read,) = odoo.call("res.company", "search_read", [], ["name", "currency_id", "country_id"])
    assert read["name"] == "Clínica Universitaria"
    assert read["currency_id"][1] == "EUR"
    (country,) = odoo.call("res.country", "read", [read["country_id"][0]], ["code"])
    assert country["code"] == "ES"


def test_medicines_are_storable_by_lot_with_expiry_and_two_names(
    loaded: OdooRpc, clinic: Clinic
) -> None:
    skus = {stocked.sku: stocked for stocked in clinic.medicines}
    fields = [
        "default_code", "name", "is_storable", "type", "tracking", "use_expiration_date",
        "barcode", "seller_ids",
    ]  # fmt: skip
    search = [["default_code", "in", list(skus)]]
    english = loaded.call(
        "product.product", "search_read", search, fields, context={"lang": "en_US"}
    )
    spanish = {
        product["default_code"]: product["name"]
        for product in loaded.call(
            "product.product", "search_read", search, fields, context={"lang": "es_ES"}
        )
    }
    assert len(english) == 442
    for product in english:
        stocked = skus[product["default_code"]]
        assert product["name"] == stocked.medicine.name_en
        assert spanish[product["default_code"]] == stocked.medicine.name_es
        assert product["barcode"] == stocked.barcode
        assert (product["type"], product["is_storable"]) == ("consu", True)
        assert (product["tracking"], product["use_expiration_date"]) == ("lot", True)
        assert len(product["seller_ids"]) == len(stocked.offers)


def test_every_lot_that_had_stock_was_counted_in(loaded: OdooRpc, clinic: Clinic) -> None:
    lots = {lot.name for stocked in clinic.medicines for lot in stocked.lots
            if lot.store_units or lot.pharmacy_units}  # fmt: skip
    counted = loaded.call(
        "stock.move.line",
        "search_read",
        [["lot_id.name", "in", sorted(lots)], ["is_inventory", "=", True], ["state", "=", "done"]],
        ["lot_name", "lot_id"],
    )
    assert {line["lot_id"][1] for line in counted} >= lots


def test_the_pharmacy_has_a_rule_for_each_medicine(loaded: OdooRpc, clinic: Clinic) -> None:
    site = read_site(loaded)
    minimums = {
        rule["product_id"][0]: rule["product_min_qty"]
        for rule in loaded.call(
            "stock.warehouse.orderpoint",
            "search_read",
            [["location_id", "=", site.pharmacy]],
            ["product_id", "product_min_qty"],
        )
    }
    products = loaded.call(
        "product.product",
        "search_read",
        [["default_code", "in", [stocked.sku for stocked in clinic.medicines]]],
        ["default_code"],
    )
    wanted = {stocked.sku: stocked.min_units for stocked in clinic.medicines}
    assert len(products) == 442
    assert {p["default_code"]: minimums[p["id"]] for p in products} == wanted


def a_small_clinic(first: int) -> Clinic:
    """Three medicines that no list has, with stock in both places."""
    medicines = tuple(
        Medicine(f"meds_em{first + n}", f"Test {first + n}", f"Prueba {first + n}", None, "", "em",
                 vaccine=False)
        for n in range(3)
    )  # fmt: skip
    section = Category("em", None, "WHO essential medicines", "Medicamentos esenciales de la OMS")
    return invent_clinic(Catalogue((section,), medicines), today=TODAY)


@pytest.fixture
def small(loaded: OdooRpc) -> Iterator[Clinic]:
    clinic = a_small_clinic(Random().randrange(10**6, 10**9))
    yield clinic
    ids = loaded.call(
        "product.product",
        "search",
        [["default_code", "in", [stocked.sku for stocked in clinic.medicines]]],
    )
    rules = loaded.call("stock.warehouse.orderpoint", "search", [["product_id", "in", ids]])
    loaded.call("stock.warehouse.orderpoint", "write", rules, {"active": False})
    loaded.call("product.product", "write", ids, {"active": False})


class Interrupted:
    """An Odoo whose every ``nth`` writing call is the last: before it, or after it was done."""

    def __init__(self, odoo: Odoo, nth: int, *, done: bool) -> None:
        self._odoo = odoo
        self._left = nth
        self._done = done
        self._lock = threading.Lock()

    def call(self, model: str, method: str, *arguments: Any, **named: Any) -> Any:
        if method in {"load", "create", "action_apply_inventory"}:
            with self._lock:
                self._left -= 1
                last = self._left == 0
            if last:
                if self._done:
                    self._odoo.call(model, method, *arguments, **named)
                raise TransientError(f"killed at {model}.{method}")
        return self._odoo.call(model, method, *arguments, **named)


def test_another_seed_changes_nothing_that_is_there(loaded: OdooRpc) -> None:
    wheel = fetch_wheel(Path(needed("CLINIC_CACHE")))
    other = invent_clinic(read_catalogue(wheel), seed=7, today=TODAY)
    assert not load_clinic(loaded, other).created


def test_an_interrupted_load_goes_on_and_doubles_nothing(loaded: OdooRpc, small: Clinic) -> None:
    interruptions = 0
    for nth in range(1, 12):
        try:
            load_clinic(Interrupted(loaded, nth % 3 + 1, done=nth % 2 == 0), small)
        except TransientError:
            interruptions += 1
        else:
            break
    load_clinic(loaded, small)
    assert interruptions >= 4, "the load must have been interrupted at several steps"
    assert not load_clinic(loaded, small).created
    products = {
        product["default_code"]: product["id"]
        for product in loaded.call(
            "product.product",
            "search_read",
            [["default_code", "in", [stocked.sku for stocked in small.medicines]]],
            ["default_code"],
        )
    }
    assert len(products) == 3
    site = read_site(loaded)
    wanted = {
        (products[stocked.sku], lot.name, place): units
        for stocked in small.medicines
        for lot in stocked.lots
        for place, units in ((site.store, lot.store_units), (site.pharmacy, lot.pharmacy_units))
        if units
    }
    assert wanted
    held = {
        (quant["product_id"][0], quant["lot_id"][1], quant["location_id"][0]): quant["quantity"]
        for quant in loaded.call(
            "stock.quant",
            "search_read",
            [["product_id", "in", list(products.values())], ["location_id.usage", "=", "internal"]],
            ["product_id", "lot_id", "location_id", "quantity"],
        )
    }
    assert held == wanted


def test_what_people_changed_stays_as_they_left_it(loaded: OdooRpc, small: Clinic) -> None:
    load_clinic(loaded, small)
    sku = small.medicines[0].sku
    search = [["default_code", "=", sku]]
    (product,) = loaded.call("product.product", "search", search)
    loaded.call(
        "product.product", "write", [product], {"name": "Otro nombre"}, context={"lang": "es_ES"}
    )
    loaded.call("product.product", "write", [product], {"list_price": 99.5})
    (rule,) = loaded.call("stock.warehouse.orderpoint", "search", [["product_id", "=", product]])
    loaded.call("stock.warehouse.orderpoint", "write", [rule], {"active": False})
    quants = loaded.call(
        "stock.quant",
        "search",
        [["product_id", "=", product], ["location_id.usage", "=", "internal"]],
    )
    context = {"inventory_mode": True}
    loaded.call("stock.quant", "write", quants, {"inventory_quantity": 0}, context=context)
    loaded.call("stock.quant", "action_apply_inventory", quants, context=context)

    assert not load_clinic(loaded, small).created

    (read,) = loaded.call(
        "product.product",
        "search_read",
        search,
        ["name", "list_price", "qty_available"],
        context={"lang": "es_ES"},
    )
    assert (read["name"], read["list_price"], read["qty_available"]) == ("Otro nombre", 99.5, 0)
    english = loaded.call("product.product", "read", [product], ["name"], context={"lang": "en_US"})
    assert english[0]["name"] == small.medicines[0].medicine.name_en
    assert loaded.call("stock.warehouse.orderpoint", "search", [["product_id", "=", product]]) == []


def test_a_day_ends_with_the_stock_that_was_planned(loaded: OdooRpc) -> None:
    site = read_site(loaded)
    snapshot = read_snapshot(loaded, site)
    events = plan_day(11, snapshot, rate_per_s=10, seconds=9, today=TODAY)
    kinds = {type(event) for event in events}
    assert {DispenseEvent, Restock, Receive, Count, Return} <= kinds
    mark = f"test day {Random().randrange(10**9)}"

    report = DayRunner(loaded, site, mark).run(events, paced=False)

    assert report.events.total() == len(events)
    assert read_levels(loaded, site) == expected_levels(snapshot, events)
    transfers = loaded.call("stock.picking", "search_count", [["origin", "=like", f"{mark} #%"]])
    assert transfers == sum(
        isinstance(event, DispenseEvent | Restock | Receive | Return) for event in events
    )
    scrapped = loaded.call("stock.scrap", "search_count", [["origin", "=like", f"{mark} #%"]])
    assert scrapped == sum(isinstance(event, WriteOff) for event in events)
    returned = loaded.call(
        "stock.picking",
        "search_count",
        [["origin", "=like", f"{mark} #%"], ["return_id", "!=", False]],
    )
    assert returned == sum(isinstance(event, Return) for event in events)


class Forgetful:
    """An Odoo that does what it is asked, and once loses the answer to each other writing call."""

    def __init__(self, odoo: Odoo) -> None:
        self._odoo = odoo
        self._asked: set[str] = set()
        self._lock = threading.Lock()
        self.lost = 0

    def call(self, model: str, method: str, *arguments: Any, **named: Any) -> Any:
        answer = self._odoo.call(model, method, *arguments, **named)
        if method in {"create", "button_validate", "action_validate", "action_apply_inventory"}:
            asked = f"{model}.{method}{arguments}"
            with self._lock:
                lose = asked not in self._asked and len(self._asked) % 2 == 0
                self._asked.add(asked)
                self.lost += lose
            if lose:
                raise TransientError(f"the answer to {model}.{method} was lost")
        return answer


def test_an_event_whose_answer_was_lost_is_done_once(loaded: OdooRpc) -> None:
    site = read_site(loaded)
    snapshot = read_snapshot(loaded, site)
    events = plan_day(12, snapshot, rate_per_s=10, seconds=4, today=TODAY)
    forgetful = Forgetful(loaded)
    mark = f"test lost {Random().randrange(10**9)}"

    DayRunner(forgetful, site, mark).run(events, paced=False)

    assert forgetful.lost > 10
    assert read_levels(loaded, site) == expected_levels(snapshot, events)


def test_every_record_of_the_demo_says_where_it_came_from(loaded: OdooRpc) -> None:
    rows = loaded.call(
        "ir.model.data", "search_read", [["module", "=", NAMESPACE]], ["name", "model"]
    )
    products = {row["name"] for row in rows if row["model"] == "product.product"}
    assert len([name for name in products if len(name) < len("product_meds_em99999")]) == 442
