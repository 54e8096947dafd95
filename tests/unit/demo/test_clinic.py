"""The invented clinic: the same from one seed, plausible, with something on each screen."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from clinic.demo.catalogue import Catalogue, Category, DosageForm, Form, Medicine
from clinic.demo.clinic import Clinic, StockedMedicine, ean13, invent_clinic
from hypothesis import given
from hypothesis import strategies as st

TODAY = date(2026, 11, 24)
LIST = Category("em", None, "WHO essential medicines", "Medicamentos esenciales de la OMS")
TABLET = DosageForm(Form.ORAL_SOLID, "tablet", "comprimido")


def a_medicine(number: int, form: Form = Form.ORAL_SOLID) -> Medicine:
    return Medicine(
        id=f"meds_em{number}",
        component_en=f"component {number}",
        component_es=f"componente {number}",
        dosage=replace(TABLET, form=form),
        strength="500 mg",
        category_id="em",
        vaccine=False,
    )


def a_clinic(count: int = 400, *, seed: int = 1, today: date = TODAY) -> Clinic:
    forms = list(Form)
    medicines = tuple(a_medicine(n, forms[n % len(forms)]) for n in range(1, count + 1))
    return invent_clinic(Catalogue((LIST,), medicines), seed=seed, today=today)


def test_the_same_seed_and_day_give_the_same_clinic() -> None:
    assert a_clinic() == a_clinic()
    assert a_clinic() != a_clinic(seed=2)


def test_another_day_changes_nothing_but_the_expiry_dates() -> None:
    later = TODAY + timedelta(days=100)

    def without_dates(clinic: Clinic) -> list[StockedMedicine]:
        return [
            replace(m, lots=tuple(replace(lot, expires_on=TODAY) for lot in m.lots))
            for m in clinic.medicines
        ]

    now, then = a_clinic(), a_clinic(today=later)
    assert without_dates(now) == without_dates(then)
    for before, after in zip(now.medicines, then.medicines, strict=True):
        for old, new in zip(before.lots, after.lots, strict=True):
            assert new.expires_on - old.expires_on == timedelta(days=100)


def test_a_medicine_keeps_its_figures_when_the_list_changes() -> None:
    whole = a_clinic(40).medicines
    part = invent_clinic(
        Catalogue((LIST,), tuple(m.medicine for m in whole[20:])), seed=1, today=TODAY
    ).medicines
    assert whole[20:] == part


def test_numbers_are_unique() -> None:
    medicines = a_clinic().medicines
    assert len({m.sku for m in medicines}) == len(medicines)
    assert len({m.barcode for m in medicines}) == len(medicines)
    for stocked in medicines:
        names = [lot.name for lot in stocked.lots]
        assert len(set(names)) == len(names) >= 1


def test_prices_are_cents_and_leave_a_margin() -> None:
    for stocked in a_clinic().medicines:
        for price in (
            stocked.list_price,
            stocked.unit_cost,
            *(o.unit_price for o in stocked.offers),
        ):
            assert price > 0
            assert price == price.quantize(Decimal("0.01"))
        assert stocked.list_price > stocked.unit_cost
        assert len({offer.supplier.key for offer in stocked.offers}) == len(stocked.offers) >= 1


def test_each_screen_has_something_to_show_and_most_is_well() -> None:
    medicines = a_clinic().medicines
    low = sum(m.pharmacy_units < m.min_units for m in medicines) / len(medicines)
    lots = [lot for m in medicines for lot in m.lots]
    expired = sum(lot.expires_on < TODAY for lot in lots) / len(lots)
    soon = sum(TODAY < lot.expires_on <= TODAY + timedelta(days=30) for lot in lots) / len(lots)
    assert 0.03 < low < 0.12
    assert 0.005 < expired < 0.06
    assert 0.02 < soon < 0.12
    assert any(m.pharmacy_units == 0 for m in medicines)


@given(st.integers(), st.integers(min_value=1, max_value=10_000))
def test_quantities_are_whole_and_limits_make_sense(seed: int, number: int) -> None:
    (stocked,) = invent_clinic(
        Catalogue((LIST,), (a_medicine(number),)), seed=seed, today=TODAY
    ).medicines
    assert 0 < stocked.min_units < stocked.max_units
    for lot in stocked.lots:
        assert lot.store_units >= 0
        assert lot.pharmacy_units >= 0
    assert sum(lot.store_units for lot in stocked.lots) > 0


def test_companies_are_recognisably_invented() -> None:
    assert a_clinic().suppliers
    for supplier in a_clinic().suppliers:
        assert supplier.name.startswith("Proveedor de demostración ")
        assert 1 <= supplier.lead_time_days <= 11


@pytest.mark.parametrize(
    ("digits", "expected"),
    [("629104150021", "6291041500213"), ("290000000001", "2900000000018"), ("0" * 12, "0" * 13)],
)
def test_ean13_check_digit(digits: str, expected: str) -> None:
    assert ean13(digits) == expected


@pytest.mark.parametrize("digits", ["1", "1" * 13, "12345678901x", "²" * 12])
def test_ean13_wants_twelve_digits(digits: str) -> None:
    with pytest.raises(ValueError, match="12 digits"):
        ean13(digits)
