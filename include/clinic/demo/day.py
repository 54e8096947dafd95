"""A day in a clinic's pharmacy, planned in advance from a seed.

A plan is a list of events, each at its second: what is dispensed, received, moved from the store
room to the pharmacy, counted, returned or thrown away. Planning touches nothing and knows no clock;
:mod:`clinic.demo.runner` carries a plan out in Odoo. So that a plan can be carried out as it
stands, it follows each lot's quantity: nothing is dispensed that is not there or has expired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from random import Random

ZERO = Decimal(0)


class Place(StrEnum):
    """The two places that hold stock."""

    STORE = "store"
    PHARMACY = "pharmacy"


@dataclass(frozen=True, slots=True)
class Lot:
    """A lot of one product; its name is unique for the product only."""

    product_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Level:
    """What one place holds of one lot.

    Attributes:
        lot: Which lot.
        place: Where.
        on_hand: Dispensing units there.
        reserved: How many of them are promised to a transfer under way.
        expires_on: The lot's last day; None when it has none.
    """

    lot: Lot
    place: Place
    on_hand: Decimal
    reserved: Decimal = ZERO
    expires_on: date | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """How one product is used and bought. Quantities are dispensing units."""

    product_id: int
    min_units: int
    max_units: int
    supplier_id: int | None = None
    pack_units: int = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The stock that a day begins with."""

    demands: tuple[Demand, ...]
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """Some units of a lot."""

    lot: Lot
    units: Decimal


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens. ``number`` is its place in the day, ``at_s`` its second."""

    number: int
    at_s: float

    @property
    def products(self) -> frozenset[int]:
        """The products it touches: two events that share one happen in their order."""
        raise NotImplementedError

    def moves(self) -> Iterable[tuple[Lot, Place, Decimal]]:
        """What it adds to each lot and place, as known from the event alone."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Lines(Event):
    lines: tuple[Line, ...]

    @property
    def products(self) -> frozenset[int]:
        return frozenset(line.lot.product_id for line in self.lines)


@dataclass(frozen=True, slots=True)
class Dispense(_Lines):
    """The pharmacy hands medicines over the counter."""

    def moves(self) -> Iterable[tuple[Lot, Place, Decimal]]:
        """Less in the pharmacy."""
        return [(line.lot, Place.PHARMACY, -line.units) for line in self.lines]


@dataclass(frozen=True, slots=True)
class Return(_Lines):
    """Unopened boxes of an earlier ``Dispense`` come back to the pharmacy."""

    of: int

    def moves(self) -> Iterable[tuple[Lot, Place, Decimal]]:
        """More in the pharmacy."""
        return [(line.lot, Place.PHARMACY, line.units) for line in self.lines]


@dataclass(frozen=True, slots=True)
class Restock(_Lines):
    """The store room fills the pharmacy's shelf."""

    def moves(self) -> Iterable[tuple[Lot, Place, Decimal]]:
        """From the store room to the pharmacy."""
        return [
            move
            for line in self.lines
            for move in (
                (line.lot, Place.STORE, -line.units),
                (line.lot, Place.PHARMACY, line.units),
            )
        ]


@dataclass(frozen=True, slots=True)
class Receive(_Lines):
    """A supplier delivers a new lot to the store room."""

    supplier_id: int | None
    expires_on: date

    def moves(self) -> Iterable[tuple[Lot, Place, Decimal]]:
        """More in the store room."""
        return [(line.lot, Place.STORE, line.units) for line in self.lines]


@dataclass(frozen=True, slots=True)
class WriteOff(Event):
    """What has expired is thrown away."""

    place: Place
    line: Line

    @property
    def products(self) -> frozenset[int]:
        """Its one product."""
        return frozenset({self.line.lot.product_id})

    def moves(self) -> Iterable[tuple[Lot, Place, Decimal]]:
        """Less where it stood."""
        return [(self.line.lot, self.place, -self.line.units)]


@dataclass(frozen=True, slots=True)
class Count(Event):
    """Somebody counts a shelf and finds another figure than the system has."""

    place: Place
    lot: Lot
    system_units: Decimal
    found_units: Decimal

    @property
    def products(self) -> frozenset[int]:
        """Its one product."""
        return frozenset({self.lot.product_id})

    def moves(self) -> Iterable[tuple[Lot, Place, Decimal]]:
        """The difference."""
        return [(self.lot, self.place, self.found_units - self.system_units)]


# What a pharmacy does, in parts of a hundred.
_WEIGHTS: Mapping[type[Event], int] = {
    Dispense: 70,
    Restock: 10,
    Receive: 6,
    Count: 6,
    Return: 5,
    WriteOff: 3,
}


def plan_day(
    seed: int, snapshot: Snapshot, *, rate_per_s: float, seconds: float, today: date
) -> list[Event]:
    """Return what happens in a day of ``seconds`` seconds, in order.

    Args:
        seed: The same seed, snapshot and date give the same day.
        snapshot: What there is when the day begins.
        rate_per_s: Events a second, on average and nearly at any time.
        seconds: How long the day is.
        today: Its date: what expired before it is not dispensed.

    Raises:
        ValueError: The rate or the length is not positive, or there is no product.
    """
    if rate_per_s <= 0 or seconds <= 0:
        raise ValueError(f"rate_per_s and seconds must be positive: {rate_per_s}, {seconds}")
    if not snapshot.demands:
        raise ValueError("a day needs at least one product")
    planner = _Planner(seed, snapshot, today)
    return [
        # One event in each slot of 1/rate seconds, at any moment of it.
        planner.next_event(number, (number + planner.rng.random()) / rate_per_s)
        for number in range(round(rate_per_s * seconds))
    ]


def expected_levels(
    snapshot: Snapshot, events: Iterable[Event]
) -> dict[tuple[Lot, Place], Decimal]:
    """Return what each place holds of each lot after the events; nothing where it holds none."""
    levels = {(level.lot, level.place): level.on_hand for level in snapshot.levels}
    for event in events:
        for lot, place, units in event.moves():
            levels[lot, place] = levels.get((lot, place), ZERO) + units
    return {key: units for key, units in levels.items() if units}


class _Planner:
    """The stock as it would be after each planned event."""

    def __init__(self, seed: int, snapshot: Snapshot, today: date) -> None:
        self.rng = Random(seed)
        self._today = today
        self._seed = seed
        self._demands = {demand.product_id: demand for demand in snapshot.demands}
        self._products = sorted(self._demands)
        # What is used more is asked for more often.
        self._popularity = [self._demands[product].min_units for product in self._products]
        self._on_hand: dict[tuple[Lot, Place], Decimal] = {}
        self._reserved: dict[tuple[Lot, Place], Decimal] = {}
        self._expires_on: dict[Lot, date | None] = {}
        self._lots: dict[int, list[Lot]] = {product: [] for product in self._products}
        self._returnable: list[tuple[int, Line]] = []
        for level in snapshot.levels:
            if level.lot.product_id not in self._demands:
                continue
            self._know(level.lot, level.expires_on)
            self._on_hand[level.lot, level.place] = level.on_hand
            self._reserved[level.lot, level.place] = level.reserved

    def next_event(self, number: int, at_s: float) -> Event:
        """Return the event with this number, and take it as having happened."""
        kinds = list(_WEIGHTS)
        first = self.rng.choices(kinds, weights=[_WEIGHTS[kind] for kind in kinds])[0]
        # What is not possible now gives way to what is: a delivery always is.
        for kind in (first, Dispense, Restock):
            event = self._plan[kind](self, number, at_s)
            if event:
                break
        else:
            event = self._receive(number, at_s)
        for lot, place, units in event.moves():
            self._on_hand[lot, place] = self._on_hand.get((lot, place), ZERO) + units
        return event

    def _dispense(self, number: int, at_s: float) -> Dispense | None:
        lines: list[Line] = []
        for product in self._some_products(self.rng.choice((1, 1, 2, 3))):
            usual = max(1, self._demands[product].min_units // 20)
            lines += self._take(product, Place.PHARMACY, Decimal(self.rng.randint(1, 2 * usual)))
        if not lines:
            # Nobody's first wish is there: whatever is there.
            anything = [p for p in self._products if self._fresh(p, Place.PHARMACY)]
            if not anything:
                return None
            lines = self._take(self.rng.choice(anything), Place.PHARMACY, Decimal(1))
        event = Dispense(number, at_s, tuple(lines))
        self._returnable += [(number, line) for line in event.lines]
        return event

    def _restock(self, number: int, at_s: float) -> Restock | None:
        short = [
            product
            for product in self._products
            if self._total(product, Place.PHARMACY) < self._demands[product].min_units
            and self._fresh(product, Place.STORE)
        ]
        product = self.rng.choice(short) if short else self._some_products(1)[0]
        room = self._demands[product].max_units - self._total(product, Place.PHARMACY)
        lines = self._take(product, Place.STORE, self._whole(room)) if room >= 1 else []
        return Restock(number, at_s, tuple(lines)) if lines else None

    def _receive(self, number: int, at_s: float) -> Receive:
        demand = self._demands[self._some_products(1)[0]]
        packs = -(-demand.max_units // demand.pack_units)
        lot = Lot(demand.product_id, self._new_name(demand.product_id, number))
        expires_on = self._today + timedelta(days=self.rng.randint(180, 1000))
        self._know(lot, expires_on)
        units = Decimal(self.rng.randint(1, packs) * demand.pack_units)
        return Receive(number, at_s, (Line(lot, units),), demand.supplier_id, expires_on)

    def _count(self, number: int, at_s: float) -> Count | None:
        product = self._some_products(1)[0]
        shelves = [
            (lot, place)
            for lot in self._lots[product]
            for place in Place
            if self._on_hand.get((lot, place), ZERO) > 0
        ]
        if not shelves:
            return None
        lot, place = self.rng.choice(shelves)
        system_units = self._on_hand[lot, place]
        difference = self.rng.choice((-3, -2, -1, -1, 1, 1, 2))
        found = max(system_units + difference, self._reserved.get((lot, place), ZERO), ZERO)
        if found == system_units:
            return None  # the figure is right: nothing happens
        return Count(number, at_s, place, lot, system_units, found)

    def _return(self, number: int, at_s: float) -> Return | None:
        if not self._returnable:
            return None
        index = self.rng.randrange(len(self._returnable))
        of, line = self._returnable.pop(index)
        units = Decimal(self.rng.randint(1, int(line.units)))
        return Return(number, at_s, (Line(line.lot, units),), of)

    def _write_off(self, number: int, at_s: float) -> WriteOff | None:
        expired = [
            (lot, place)
            for product in self._products
            for lot in self._lots[product]
            for place in Place
            if self._has_expired(lot) and self._free(lot, place) > 0
        ]
        if not expired:
            return None
        lot, place = self.rng.choice(expired)
        return WriteOff(number, at_s, place, Line(lot, self._free(lot, place)))

    _plan: Mapping[type[Event], Callable[[_Planner, int, float], Event | None]] = {
        Dispense: _dispense,
        Restock: _restock,
        Receive: _receive,
        Count: _count,
        Return: _return,
        WriteOff: _write_off,
    }

    def _some_products(self, count: int) -> list[int]:
        """Return up to ``count`` different products, the popular ones more often."""
        chosen = self.rng.choices(self._products, weights=self._popularity, k=count)
        return list(dict.fromkeys(chosen))

    def _take(self, product: int, place: Place, units: Decimal) -> list[Line]:
        """Return whole units of a product's lots, those that expire first before the others."""
        lines = []
        for lot in self._fresh(product, place):
            part = min(units, self._whole(self._free(lot, place)))
            if part > 0:
                lines.append(Line(lot, part))
                units -= part
        return lines

    def _fresh(self, product: int, place: Place) -> Sequence[Lot]:
        """Return the lots that can be handed out, those that expire first before the others."""
        lots = [
            lot
            for lot in self._lots[product]
            if not self._has_expired(lot) and self._free(lot, place) >= 1
        ]
        return sorted(lots, key=lambda lot: (self._expires_on[lot] or date.max, lot.name))

    def _total(self, product: int, place: Place) -> Decimal:
        return sum((self._on_hand.get((lot, place), ZERO) for lot in self._lots[product]), ZERO)

    def _free(self, lot: Lot, place: Place) -> Decimal:
        return self._on_hand.get((lot, place), ZERO) - self._reserved.get((lot, place), ZERO)

    @staticmethod
    def _whole(units: Decimal) -> Decimal:
        return units // 1

    def _has_expired(self, lot: Lot) -> bool:
        # On its last day a lot is still good, but a day that runs past midnight is not: the plan
        # leaves a lot alone from its last day on.
        expires_on = self._expires_on[lot]
        return expires_on is not None and expires_on <= self._today

    def _know(self, lot: Lot, expires_on: date | None) -> None:
        if lot not in self._expires_on:
            self._lots[lot.product_id].append(lot)
        self._expires_on[lot] = expires_on

    def _new_name(self, product: int, number: int) -> str:
        """Return a lot name that the product does not have, an earlier day's included."""
        stem = name = f"{self._today:%y%m%d}-{self._seed}-{number}"
        copies = 1
        while Lot(product, name) in self._expires_on:
            copies += 1
            name = f"{stem}-{copies}"
        return name
