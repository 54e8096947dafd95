"""What a published list of medicines has not: prices, suppliers, lots, minimums, opening stock.

All of it is invented from a seed. Each medicine draws from a generator of its own, so that its
figures stay the same whatever happens to the others. Companies are named so that nobody takes them
for real ones, and no person is invented.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import NamedTuple

from clinic.demo.catalogue import Catalogue, Category, Form, Medicine

DEMO_SEED = 2026
SUPPLIERS = 6

# Shares of the opening stock, chosen so that each screen has something to show.
SHARE_BELOW_MINIMUM = 0.06
SHARE_OUT_OF_STOCK = 0.01
SHARE_LOTS_EXPIRED = 0.025
SHARE_LOTS_EXPIRING_SOON = 0.06
EXPIRES_SOON_DAYS = 30

_COVER_DAYS = 7  # the minimum lasts this long at the usual use
_CENT = Decimal("0.01")


class _Habits(NamedTuple):
    """How medicines of one form are bought and used."""

    unit_cost: float  # median, in the company's currency
    daily_use_units: float  # median
    pack_units: int


_HABITS: Mapping[Form, _Habits] = {
    Form.ORAL_SOLID: _Habits(0.12, 40, 100),
    Form.ORAL_LIQUID: _Habits(2.5, 3, 1),
    Form.INJECTION: _Habits(3.0, 6, 10),
    Form.TOPICAL: _Habits(2.2, 2, 1),
    Form.INHALED: _Habits(6.0, 2, 1),
    Form.VACCINE: _Habits(12.0, 3, 10),
    Form.OTHER: _Habits(4.0, 2, 1),
}


@dataclass(frozen=True, slots=True)
class Supplier:
    """An invented company that sells medicines."""

    key: str
    name: str
    lead_time_days: int


@dataclass(frozen=True, slots=True)
class Offer:
    """At which price a supplier sells a medicine."""

    supplier: Supplier
    unit_price: Decimal
    pack_units: int


@dataclass(frozen=True, slots=True)
class OpeningLot:
    """A lot as it is on the first day.

    Attributes:
        name: What the box says; unique for its medicine, and the same whatever the day.
        expires_on: Its last day.
        store_units: What the store room holds of it, in dispensing units.
        pharmacy_units: What the pharmacy holds of it, in dispensing units.
    """

    name: str
    expires_on: date
    store_units: int
    pharmacy_units: int


@dataclass(frozen=True, slots=True)
class StockedMedicine:
    """A medicine as the clinic keeps it. Quantities are dispensing units (tablets, vials)."""

    medicine: Medicine
    sku: str
    barcode: str
    list_price: Decimal
    unit_cost: Decimal
    offers: tuple[Offer, ...]
    min_units: int
    max_units: int
    lots: tuple[OpeningLot, ...]

    @property
    def pharmacy_units(self) -> int:
        """What the pharmacy opens with."""
        return sum(lot.pharmacy_units for lot in self.lots)


@dataclass(frozen=True, slots=True)
class Clinic:
    """Everything that is loaded into Odoo."""

    categories: tuple[Category, ...]
    suppliers: tuple[Supplier, ...]
    medicines: tuple[StockedMedicine, ...]


def invent_clinic(catalogue: Catalogue, *, seed: int = DEMO_SEED, today: date) -> Clinic:
    """Return the clinic that a seed gives to a list of medicines.

    Only the lots' expiry dates depend on ``today``: they lie around it.
    """
    suppliers = tuple(
        Supplier(f"supplier_{n}", f"Proveedor de demostración {n}", lead_time_days=1 + 2 * n % 11)
        for n in range(1, SUPPLIERS + 1)
    )
    return Clinic(
        categories=catalogue.categories,
        suppliers=suppliers,
        medicines=tuple(
            _stock(medicine, suppliers, Random(f"{seed}:{medicine.id}"), today)
            for medicine in catalogue.medicines
        ),
    )


def _stock(
    medicine: Medicine, suppliers: tuple[Supplier, ...], rng: Random, today: date
) -> StockedMedicine:
    habits = _HABITS[medicine.form]
    unit_cost = _money(rng.lognormvariate(math.log(habits.unit_cost), 0.8), least=Decimal("0.02"))
    daily_use_units = rng.lognormvariate(math.log(habits.daily_use_units), 0.6)
    min_units = max(2, math.ceil(daily_use_units * _COVER_DAYS))
    return StockedMedicine(
        medicine=medicine,
        sku=f"OMS-{medicine.number:04d}",
        barcode=ean13(f"29{medicine.number:010d}"),
        list_price=_money(float(unit_cost) * rng.uniform(1.3, 1.6)),
        unit_cost=unit_cost,
        offers=tuple(
            Offer(supplier, _money(float(unit_cost) * rng.uniform(0.95, 1.05)), habits.pack_units)
            for supplier in rng.sample(suppliers, k=rng.choice((1, 1, 2)))
        ),
        min_units=min_units,
        max_units=3 * min_units,
        lots=_opening_lots(rng, min_units, today),
    )


def _opening_lots(rng: Random, min_units: int, today: date) -> tuple[OpeningLot, ...]:
    level = rng.random()
    if level < SHARE_OUT_OF_STOCK:
        pharmacy_units = 0
    elif level < SHARE_OUT_OF_STOCK + SHARE_BELOW_MINIMUM:
        pharmacy_units = rng.randint(1, min_units - 1)
    else:
        pharmacy_units = rng.randint(min_units, math.ceil(2.5 * min_units))
    store_units = rng.randint(min_units, 6 * min_units)
    count = rng.choice((1, 2, 2, 3))
    stem = f"{rng.choice('ABCDEFGHJKLMNPRSTUVWXYZ')}{rng.randrange(100_000):05d}"
    return tuple(
        OpeningLot(f"{stem}-{n + 1}", _expiry(rng, today), in_store, in_pharmacy)
        for n, (in_store, in_pharmacy) in enumerate(
            zip(_split(rng, store_units, count), _split(rng, pharmacy_units, count), strict=True)
        )
    )


def _expiry(rng: Random, today: date) -> date:
    kind = rng.random()
    if kind < SHARE_LOTS_EXPIRED:
        days = -rng.randint(1, 60)
    elif kind < SHARE_LOTS_EXPIRED + SHARE_LOTS_EXPIRING_SOON:
        days = rng.randint(1, EXPIRES_SOON_DAYS)
    else:
        days = rng.randint(EXPIRES_SOON_DAYS + 1, 1000)
    return today + timedelta(days=days)


def _split(rng: Random, units: int, parts: int) -> list[int]:
    """Cut a quantity into random whole parts; some may be 0.

    >>> sum(_split(Random(1), 10, 3)), len(_split(Random(1), 0, 3))
    (10, 3)
    """
    cuts = sorted(rng.randint(0, units) for _ in range(parts - 1))
    return [end - start for start, end in zip([0, *cuts], [*cuts, units], strict=True)]


def _money(amount: float, *, least: Decimal = _CENT) -> Decimal:
    return max(least, Decimal(amount).quantize(_CENT))


def ean13(twelve_digits: str) -> str:
    """Return the digits with their check digit.

    Prefixes 20 to 29 are for use inside a company, so that no real article has such a number.

    Source: https://www.gs1.org/services/how-calculate-check-digit-manually

    >>> ean13("629104150021")
    '6291041500213'
    """
    if len(twelve_digits) != 12 or not (twelve_digits.isascii() and twelve_digits.isdigit()):
        raise ValueError(f"expected 12 digits, got {twelve_digits!r}")
    weighted = sum(int(digit) * (3 if n % 2 else 1) for n, digit in enumerate(twelve_digits))
    return f"{twelve_digits}{-weighted % 10}"
