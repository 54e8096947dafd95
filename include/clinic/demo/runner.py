"""Carry a planned day out in Odoo: real transfers, scraps and counts, at the planned pace."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from clinic.demo.day import (
    Count,
    Demand,
    Dispense,
    Event,
    Level,
    Line,
    Lot,
    Place,
    Receive,
    Restock,
    Return,
    Snapshot,
    WriteOff,
)
from clinic.demo.load import Odoo, Site, apply_count
from clinic.errors import PermanentError, TransientError

# No chatter message on each transfer: they cost as much as the transfer.
_QUIET = {"tracking_disable": True, "mail_create_nolog": True, "lang": "en_US"}
_ATTEMPTS = 3


@dataclass(slots=True)
class DayReport:
    """What a day took.

    Attributes:
        events: How many of each kind were carried out.
        seconds: From the first event to the end of the last.
        late_s: How far behind its plan the latest event began; near 0 when Odoo keeps up.
    """

    events: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    late_s: float = 0.0

    @property
    def rate_per_s(self) -> float:
        """Events a second, as achieved."""
        return self.events.total() / self.seconds if self.seconds else 0.0


def read_snapshot(odoo: Odoo, site: Site) -> Snapshot:
    """Return the stock of the store room and the pharmacy as it is now.

    Products without a reorder rule of the pharmacy take no part.

    Raises:
        TransientError: Odoo failed.
        PermanentError: Odoo refused.
    """
    rules = odoo.call(
        "stock.warehouse.orderpoint",
        "search_read",
        [["location_id", "=", site.pharmacy], ["product_id.tracking", "=", "lot"]],
        ["product_id", "product_min_qty", "product_max_qty"],
        order="product_id",
        load=None,
    )
    products = [rule["product_id"] for rule in rules]
    templates = {
        row["id"]: row["product_tmpl_id"]
        for row in odoo.call("product.product", "read", products, ["product_tmpl_id"], load=None)
    }
    offers: dict[int, dict[str, Any]] = {}
    for offer in odoo.call(
        "product.supplierinfo",
        "search_read",
        [["product_tmpl_id", "in", list(templates.values())]],
        ["product_tmpl_id", "partner_id", "min_qty"],
        order="sequence, id",
        load=None,
    ):
        offers.setdefault(offer["product_tmpl_id"], offer)
    quants = odoo.call(
        "stock.quant",
        "search_read",
        [
            ["location_id", "in", [site.store, site.pharmacy]],
            ["product_id", "in", products],
            ["lot_id", "!=", False],
        ],
        ["product_id", "location_id", "lot_id", "quantity", "reserved_quantity"],
        order="id",
        load=None,
    )
    lots = {
        lot["id"]: lot
        for lot in odoo.call(
            "stock.lot",
            "search_read",
            [["product_id", "in", products]],
            ["product_id", "name", "expiration_date", "removal_date"],
            load=None,
        )
    }
    levels: dict[tuple[Lot, Place], Level] = {}
    for quant in quants:
        lot = Lot(quant["product_id"], lots[quant["lot_id"]]["name"])
        place = Place.STORE if quant["location_id"] == site.store else Place.PHARMACY
        before = levels.get((lot, place))
        # One key may have several quants: Odoo merges them later.
        levels[lot, place] = Level(
            lot,
            place,
            _units(quant["quantity"]) + (before.on_hand if before else 0),
            _units(quant["reserved_quantity"]) + (before.reserved if before else 0),
            _last_day(lots[quant["lot_id"]]),
        )
    # A lot that is used up keeps its name, which a delivery shall not take.
    known = {lot for lot, _ in levels}
    for row in lots.values():
        lot = Lot(row["product_id"], row["name"])
        if lot not in known:
            levels[lot, Place.STORE] = Level(
                lot, Place.STORE, Decimal(0), expires_on=_last_day(row)
            )
    return Snapshot(
        demands=tuple(
            Demand(
                product_id=rule["product_id"],
                min_units=max(1, int(rule["product_min_qty"])),
                max_units=max(1, int(rule["product_max_qty"])),
                supplier_id=(offer := offers.get(templates[rule["product_id"]], {})).get(
                    "partner_id"
                ),
                pack_units=max(1, int(offer.get("min_qty") or 1)),
            )
            for rule in rules
        ),
        levels=tuple(levels.values()),
    )


def read_levels(odoo: Odoo, site: Site) -> dict[tuple[Lot, Place], Decimal]:
    """Return what Odoo says now, in the form of :func:`~clinic.demo.day.expected_levels`."""
    return {
        (level.lot, level.place): level.on_hand
        for level in read_snapshot(odoo, site).levels
        if level.on_hand
    }


class _Schedule:
    """Hands events out in the order of their times, each after those it shares a product with."""

    def __init__(self, events: Sequence[Event], *, paced: bool) -> None:
        self.changed = threading.Condition()
        self._paced = paced
        self._started = time.monotonic()
        self._left = len(events)
        self._stopped = False
        self._waits_for: Counter[int] = Counter()
        self._followers: dict[int, list[Event]] = defaultdict(list)
        self._ready: list[tuple[float, int, Event]] = []
        latest: dict[int, Event] = {}
        for event in events:
            before = {latest[product].number for product in event.products if product in latest}
            self._waits_for[event.number] = len(before)
            for number in before:
                self._followers[number].append(event)
            latest.update(dict.fromkeys(event.products, event))
            if not before:
                heapq.heappush(self._ready, (event.at_s, event.number, event))

    def next_turn(self) -> tuple[Event, float] | None:
        """Wait for the next event's time; return it and how late it is, or None at the end."""
        with self.changed:
            while self._left and not self._stopped:
                wait_s = None  # until an event is done
                if self._ready:
                    now = time.monotonic() - self._started
                    wait_s = self._ready[0][0] - now if self._paced else 0.0
                    if wait_s <= 0:
                        _, _, event = heapq.heappop(self._ready)
                        return event, -wait_s
                self.changed.wait(wait_s)
        return None

    def done(self, event: Event) -> None:
        """Let those follow that waited for this event."""
        with self.changed:
            self._left -= 1
            for follower in self._followers[event.number]:
                self._waits_for[follower.number] -= 1
                if not self._waits_for[follower.number]:
                    heapq.heappush(self._ready, (follower.at_s, follower.number, follower))
            self.changed.notify_all()

    def stop(self) -> None:
        """Hand out no more."""
        with self.changed:
            self._stopped = True
            self.changed.notify_all()


class DayRunner:
    """Carries events out in Odoo.

    Events that share a product happen one after the other, in their order; others at once. Each is
    marked in Odoo by its origin, so that one whose answer was lost is looked up, not done twice.

    Args:
        odoo: Odoo, logged in as somebody who may do all of it.
        site: Where things are.
        mark: What tells this run's documents from another's, ``demo 7 2026-11-24T10:00``.
        parallel: How many events are under way at once.
    """

    def __init__(self, odoo: Odoo, site: Site, mark: str, *, parallel: int = 2) -> None:
        self._odoo = odoo
        self._site = site
        self._mark = mark
        self._parallel = parallel
        self._units_of_measure: dict[int, int] = {}
        self._lots: dict[Lot, int] = {}
        self._dispensed: dict[int, int] = {}

    def prepare(self, products: Iterable[int]) -> None:
        """Read what each event needs to know of its products, once for all of them."""
        ids = sorted(set(products) - set(self._units_of_measure))
        for product in self._odoo.call("product.product", "read", ids, ["uom_id"], load=None):
            self._units_of_measure[product["id"]] = product["uom_id"]
        for lot in self._odoo.call(
            "stock.lot",
            "search_read",
            [["product_id", "in", ids]],
            ["product_id", "name"],
            load=None,
        ):
            self._lots[Lot(lot["product_id"], lot["name"])] = lot["id"]

    def run(
        self,
        events: Sequence[Event],
        *,
        on_done: Callable[[Event], None] = lambda event: None,
        paced: bool = True,
    ) -> DayReport:
        """Carry the events out, each not before its second; return when the last is done.

        Args:
            events: In the order of their times.
            on_done: Told of each event that is done, from any thread.
            paced: False carries them out as fast as Odoo can.

        Raises:
            TransientError: Odoo failed for longer than the retries last. Events before may be done.
            PermanentError: Odoo refused an event; the message says which.
        """
        self.prepare(product for event in events for product in event.products)
        report = DayReport()
        schedule = _Schedule(events, paced=paced)

        def work() -> None:
            while (turn := schedule.next_turn()) is not None:
                event, late_s = turn
                try:
                    self.carry_out(event)
                except BaseException:
                    schedule.stop()
                    raise
                with schedule.changed:
                    report.events[type(event).__name__] += 1
                    report.late_s = max(report.late_s, late_s)
                schedule.done(event)
                on_done(event)

        started = time.monotonic()
        with ThreadPoolExecutor(self._parallel) as pool:
            workers = [pool.submit(work) for _ in range(self._parallel)]
        report.seconds = time.monotonic() - started
        for worker in workers:
            worker.result()
        return report

    def carry_out(self, event: Event) -> None:
        """Carry one event out now."""
        try:
            match event:
                case Dispense():
                    self.validate(self.draft(event))
                case Restock():
                    self._transfer(
                        event,
                        event.lines,
                        self._site.transfers,
                        self._site.store,
                        self._site.pharmacy,
                    )
                case Receive():
                    self._receive(event)
                case Return():
                    self._return(event)
                case WriteOff():
                    self._write_off(event)
                case Count():
                    self._count(event)
                case _:
                    raise TypeError(f"no way to carry out {event!r}")
        except PermanentError as error:
            raise PermanentError(
                f"Event {event.number} ({type(event).__name__}, products "
                f"{sorted(event.products)}): {error}"
            ) from error

    def draft(self, event: Dispense) -> int:
        """Make the delivery of what is dispensed, and reserve it; return the delivery's id."""
        delivery = self._draft(
            event,
            event.lines,
            self._site.deliveries,
            self._site.pharmacy,
            self._site.customers,
        )
        self._dispensed[event.number] = delivery
        return delivery

    def validate(self, transfer: int) -> None:
        """Do a drafted transfer: the one transaction in which its goods move."""
        self._finish("stock.picking", "button_validate", transfer)

    def _receive(self, event: Receive) -> None:
        new = [line for line in event.lines if line.lot not in self._lots]
        self._transfer(
            event,
            event.lines,
            self._site.receipts,
            self._site.vendors,
            self._site.store,
            partner_id=event.supplier_id or False,
            expires_on=event.expires_on,
        )
        for line in new:
            found = self._odoo.call(
                "stock.lot",
                "search",
                [["product_id", "=", line.lot.product_id], ["name", "=", line.lot.name]],
                limit=1,
            )
            self._lots[line.lot] = found[0]

    def _return(self, event: Return) -> None:
        # What the wizard "Return" of a delivery makes, but to the pharmacy's shelf.
        original = self._dispensed[event.of]
        moves = {
            move["product_id"]: move["id"]
            for move in self._odoo.call(
                "stock.move",
                "search_read",
                [["picking_id", "=", original]],
                ["product_id"],
                load=None,
            )
        }
        self._transfer(
            event,
            event.lines,
            self._site.receipts,
            self._site.customers,
            self._site.pharmacy,
            return_id=original,
            returned_moves=moves,
        )

    def _write_off(self, event: WriteOff) -> None:
        origin = self._origin(event)
        scrap = self._once(
            "stock.scrap",
            origin,
            {
                "origin": origin,
                "product_id": event.line.lot.product_id,
                "lot_id": self._lots[event.line.lot],
                "location_id": self._place(event.place),
                "scrap_qty": float(event.line.units),
            },
        )
        self._finish("stock.scrap", "action_validate", scrap)

    def _count(self, event: Count) -> None:
        # Counting the same figure again changes nothing: it needs no mark.
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                apply_count(
                    self._odoo,
                    [
                        {
                            "product_id": event.lot.product_id,
                            "lot_id": self._lots[event.lot],
                            "location_id": self._place(event.place),
                            "inventory_quantity": float(event.found_units),
                        }
                    ],
                )
            except TransientError:
                if attempt == _ATTEMPTS:
                    raise
            else:
                return

    def _transfer(self, event: Event, lines: Sequence[Line], *where: int, **values: Any) -> None:
        self.validate(self._draft(event, lines, *where, **values))

    def _draft(
        self,
        event: Event,
        lines: Sequence[Line],
        picking_type: int,
        source: int,
        target: int,
        *,
        expires_on: date | None = None,
        returned_moves: Mapping[int, int] | None = None,
        **values: Any,
    ) -> int:
        """Make a transfer of exactly these lots; return its id."""
        units: dict[int, Decimal] = defaultdict(Decimal)
        for line in lines:
            units[line.lot.product_id] += line.units
        places = {"location_id": source, "location_dest_id": target}
        moves = [
            {
                "product_id": product,
                "product_uom_qty": float(quantity),
                "product_uom": self._units_of_measure[product],
                "picked": True,
                **places,
                **(
                    {"origin_returned_move_id": returned_moves[product]}
                    if returned_moves and product in returned_moves
                    else {}
                ),
            }
            for product, quantity in units.items()
        ]
        details = [
            {
                "product_id": line.lot.product_id,
                "product_uom_id": self._units_of_measure[line.lot.product_id],
                "quantity": float(line.units),
                "picked": True,
                **places,
                **self._lot_of(line.lot, expires_on),
            }
            for line in lines
        ]
        origin = self._origin(event)
        return self._once(
            "stock.picking",
            origin,
            {
                "picking_type_id": picking_type,
                "origin": origin,
                **places,
                **values,
                "move_ids": [[0, 0, move] for move in moves],
                "move_line_ids": [[0, 0, detail] for detail in details],
            },
        )

    def _lot_of(self, lot: Lot, expires_on: date | None) -> dict[str, Any]:
        if lot in self._lots:
            return {"lot_id": self._lots[lot]}
        if expires_on is None:
            raise PermanentError(f"Odoo has no lot {lot.name!r} of product {lot.product_id}.")
        return {"lot_name": lot.name, "expiration_date": f"{expires_on} 23:59:59"}

    def _once(self, model: str, origin: str, values: Mapping[str, Any]) -> int:
        """Create a document; after a lost answer, look for it before creating it again."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                if attempt > 1:
                    found = self._odoo.call(model, "search", [["origin", "=", origin]], limit=1)
                    if found:
                        return int(found[0])
                return int(self._odoo.call(model, "create", dict(values), context=_QUIET))
            except TransientError:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returned or raised")

    def _finish(self, model: str, method: str, document: int) -> None:
        """Validate a document; after a lost answer, look at its state first."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                if attempt > 1:
                    (state,) = self._odoo.call(model, "read", [document], ["state"])
                    if state["state"] == "done":
                        return
                answer = self._odoo.call(model, method, [document], context=_QUIET)
            except TransientError:
                if attempt == _ATTEMPTS:
                    raise
            else:
                if isinstance(answer, dict):  # a wizard: Odoo wants a person to decide
                    raise PermanentError(
                        f"Odoo {model}.{method}: asked by {answer.get('res_model')}; the stock is "
                        f"not as planned. Was it changed by hand meanwhile?"
                    )
                return

    def _origin(self, event: Event) -> str:
        return f"{self._mark} #{event.number}"

    def _place(self, place: Place) -> int:
        return self._site.store if place is Place.STORE else self._site.pharmacy


def _units(quantity: float) -> Decimal:
    """Return an Odoo quantity as the decimal number it stands for."""
    return Decimal(str(quantity))


def _last_day(lot: Mapping[str, Any]) -> date | None:
    """Return the day from which a lot is not handed out: Odoo's removal date, else its expiry."""
    moments = [lot[name] for name in ("expiration_date", "removal_date") if lot.get(name)]
    if not moments:
        return None
    return min(
        datetime.strptime(moment, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) for moment in moments
    ).date()
