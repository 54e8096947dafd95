"""Put the demo's clinic into Odoo, through Odoo's own methods.

Loading twice changes nothing, and an interrupted load is taken up where it ended: each step asks
Odoo what is there and makes only what is missing. What people changed since (names, prices,
minimums, stock) stays as they left it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import batched
from typing import Any, Protocol

from clinic.demo.clinic import Clinic
from clinic.errors import PermanentError

# External ids are how Odoo knows which of its records came from where.
NAMESPACE = "clinic_demo"
STORE_NAME = "Almacén general"
PHARMACY_NAME = "Farmacia"
LANGUAGES = ("en_US", "es_ES")

# One Odoo request a batch: large enough to save round trips, small enough to show progress and
# to end well within Odoo's limit-time-cpu of 60 s.
BATCH = 50
# No chatter message on each of 2,000 records: nobody typed them.
_QUIET = {"tracking_disable": True, "mail_create_nolog": True, "lang": "en_US"}


class Odoo(Protocol):
    """The part of :class:`clinic.clients.odoo_rpc.OdooRpc` used here."""

    def call(self, model: str, method: str, *arguments: Any, **named: Any) -> Any:
        """Return what ``model.method(*arguments, **named)`` returns in Odoo."""
        ...


class Progress(Protocol):
    """Shows how far a step is."""

    def start(self, step: str, total: int) -> None:
        """A step of ``total`` parts begins."""
        ...

    def advance(self, parts: int) -> None:
        """Some parts of the step are done."""
        ...


class NoProgress:
    """For those who do not look."""

    def start(self, step: str, total: int) -> None:
        """Show nothing."""

    def advance(self, parts: int) -> None:
        """Show nothing."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where things are in one Odoo: record ids."""

    company: int
    warehouse: int
    store: int
    pharmacy: int
    vendors: int
    customers: int
    receipts: int
    deliveries: int
    transfers: int


@dataclass(slots=True)
class LoadReport:
    """What a load made; empty when everything was there."""

    created: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def load_clinic(
    odoo: Odoo, clinic: Clinic, progress: Progress | None = None, *, parallel: int = 2
) -> LoadReport:
    """Make in Odoo what of ``clinic`` it does not have yet.

    Args:
        odoo: An Odoo with stock, purchase and product_expiry, logged in as an administrator.
        clinic: What to load.
        progress: Told how far each step is.
        parallel: How many requests are under way at once.

    Raises:
        TransientError: Odoo failed; loading again goes on from there.
        PermanentError: Odoo refused something.
    """
    started = time.monotonic()
    loader = _Loader(odoo, clinic, progress or NoProgress(), parallel)
    loader.run()
    return LoadReport(loader.created, time.monotonic() - started)


def read_site(odoo: Odoo) -> Site:
    """Return where a loaded Odoo has its store room, its pharmacy and what surrounds them.

    Raises:
        PermanentError: The demo was not loaded there.
    """
    known = _external_ids(odoo, "stock.location")
    if missing := [key for key in ("location_store", "location_pharmacy") if key not in known]:
        raise PermanentError(
            f"Odoo has no {' and no '.join(missing)} of the demo. Run `clinic demo load` first."
        )
    warehouse = _warehouse(odoo)
    return Site(
        company=warehouse["company_id"],
        warehouse=warehouse["id"],
        store=known["location_store"],
        pharmacy=known["location_pharmacy"],
        vendors=_by_xmlid(odoo, "stock.stock_location_suppliers"),
        customers=_by_xmlid(odoo, "stock.stock_location_customers"),
        receipts=warehouse["in_type_id"],
        deliveries=warehouse["out_type_id"],
        transfers=warehouse["int_type_id"],
    )


class _Loader:
    """One load: the steps, in the order in which each needs the one before."""

    def __init__(self, odoo: Odoo, clinic: Clinic, progress: Progress, parallel: int) -> None:
        self._odoo = odoo
        self._clinic = clinic
        self._progress = progress
        self._parallel = parallel
        self.created: Counter[str] = Counter()

    def run(self) -> None:
        self._check_modules()
        self._progress.start("Languages and settings", 2)
        self._install_languages()
        self._progress.advance(1)
        self._show_lots_and_locations()
        self._progress.advance(1)
        warehouse = _warehouse(self._odoo)
        locations = self._load_locations(warehouse["lot_stock_id"])
        suppliers = self._load_suppliers()
        self._load_categories()
        products = self._load_products()
        self._translate_products(products)
        self._load_offers(products, suppliers)
        self._load_reorder_rules(products, locations["location_pharmacy"], warehouse["id"])
        lots = self._load_lots(products, warehouse["company_id"])
        self._open_stock(products, lots, locations)

    def _check_modules(self) -> None:
        wanted = {"stock", "purchase", "product_expiry"}
        installed = {
            module["name"]
            for module in self._odoo.call(
                "ir.module.module",
                "search_read",
                [["name", "in", sorted(wanted)], ["state", "=", "installed"]],
                ["name"],
            )
        }
        if missing := sorted(wanted - installed):
            raise PermanentError(
                f"Odoo has no module {', '.join(missing)}. Install it, then load again."
            )

    def _install_languages(self) -> None:
        # Where en_US is not active, Odoo overwrites the English text with each Spanish edit.
        languages = self._odoo.call(
            "res.lang",
            "search_read",
            [["code", "in", list(LANGUAGES)]],
            ["code", "active"],
            context={"active_test": False},
        )
        if inactive := [language["id"] for language in languages if not language["active"]]:
            wizard = self._odoo.call(
                "base.language.install",
                "create",
                {"lang_ids": [[6, 0, inactive]], "overwrite": False},
            )
            self._odoo.call("base.language.install", "lang_install", [wizard])
            self.created["languages"] += len(inactive)

    def _show_lots_and_locations(self) -> None:
        """Tick "Lots" and "Storage Locations", without which Odoo's screens hide both."""
        settings = {"group_stock_production_lot": True, "group_stock_multi_locations": True}
        now = self._odoo.call("res.config.settings", "default_get", list(settings))
        if any(not now.get(name) for name in settings):
            wizard = self._odoo.call("res.config.settings", "create", settings)
            self._odoo.call("res.config.settings", "execute", [wizard])
            self.created["settings"] += 1

    def _load_locations(self, parent: int) -> dict[str, int]:
        return self._load(
            "stock.location",
            "locations",
            {
                key: {"name": name, "usage": "internal", "location_id/.id": parent}
                for key, name in (
                    ("location_store", STORE_NAME),
                    ("location_pharmacy", PHARMACY_NAME),
                )
            },
        )

    def _load_suppliers(self) -> dict[str, int]:
        return self._load(
            "res.partner",
            "suppliers",
            {
                supplier.key: {"name": supplier.name, "is_company": "1", "supplier_rank": 1}
                for supplier in self._clinic.suppliers
            },
        )

    def _load_categories(self) -> None:
        self._load(
            "product.category",
            "categories",
            {
                _category_key(category.id): {
                    # Odoo does not translate these. "Complementario" alone says nothing, so that
                    # the section's number goes with it.
                    "name": f"{category.section} {category.name_es}".strip(),
                    "parent_id/id": (
                        f"{NAMESPACE}.{_category_key(category.parent_id)}"
                        if category.parent_id
                        else ""
                    ),
                }
                for category in self._clinic.categories
            },
            batch=len(self._clinic.categories),  # a child may stand in the batch of its parent
        )

    def _load_products(self) -> dict[str, int]:
        return self._load(
            "product.product",
            "medicines",
            {
                _product_key(stocked.medicine.id): {
                    "name": stocked.medicine.name_en,
                    "default_code": stocked.sku,
                    "barcode": stocked.barcode,
                    "categ_id/id": f"{NAMESPACE}.{_category_key(stocked.medicine.category_id)}",
                    "type": "consu",
                    "is_storable": "1",
                    "tracking": "lot",
                    "use_expiration_date": "1",
                    "list_price": str(stocked.list_price),
                    "standard_price": str(stocked.unit_cost),
                }
                for stocked in self._clinic.medicines
            },
        )

    def _translate_products(self, products: Mapping[str, int]) -> None:
        """Give Spanish names to those that have none: a name that differs was given by someone."""
        english, spanish = (
            {
                product["id"]: product["name"]
                for product in self._odoo.call(
                    "product.product",
                    "read",
                    list(products.values()),
                    ["name"],
                    context={"lang": language},
                )
            }
            for language in LANGUAGES
        )
        rows = []
        for stocked in self._clinic.medicines:
            medicine = stocked.medicine
            key = _product_key(medicine.id)
            product = products[key]
            untouched = english[product] == spanish[product] == medicine.name_en
            if untouched and medicine.name_es != medicine.name_en:
                rows.append([f"{NAMESPACE}.{key}", medicine.name_es])
        self._in_batches(
            "Spanish names",
            rows,
            lambda batch: self._import(
                "product.product", ["id", "name"], batch, {**_QUIET, "lang": "es_ES"}
            ),
        )

    def _load_offers(self, products: Mapping[str, int], suppliers: Mapping[str, int]) -> None:
        templates = {
            product["id"]: product["product_tmpl_id"]
            for product in self._odoo.call(
                "product.product", "read", list(products.values()), ["product_tmpl_id"], load=None
            )
        }
        # Whoever has one has all: a product's offers are made in one transaction.
        known = {
            row["product_tmpl_id"]
            for row in self._odoo.call(
                "product.supplierinfo",
                "search_read",
                [["partner_id", "in", list(suppliers.values())]],
                ["product_tmpl_id"],
                load=None,
            )
        }
        missing = [
            [
                {
                    "partner_id": suppliers[offer.supplier.key],
                    "product_tmpl_id": templates[products[_product_key(stocked.medicine.id)]],
                    "price": float(offer.unit_price),
                    "min_qty": offer.pack_units,
                    "delay": offer.supplier.lead_time_days,
                    "sequence": sequence,
                }
                for sequence, offer in enumerate(stocked.offers, start=1)
            ]
            for stocked in self._clinic.medicines
            if templates[products[_product_key(stocked.medicine.id)]] not in known
        ]
        self._create("product.supplierinfo", "supplier prices", missing)

    def _load_reorder_rules(
        self, products: Mapping[str, int], pharmacy: int, warehouse: int
    ) -> None:
        there = {
            row["product_id"]
            for row in self._odoo.call(
                "stock.warehouse.orderpoint",
                "search_read",
                [["location_id", "=", pharmacy]],
                ["product_id"],
                load=None,
                context={"active_test": False},  # an archived rule is somebody's decision
            )
        }
        self._create(
            "stock.warehouse.orderpoint",
            "reorder rules",
            [
                [
                    {
                        "product_id": products[_product_key(stocked.medicine.id)],
                        "location_id": pharmacy,
                        "warehouse_id": warehouse,
                        "product_min_qty": stocked.min_units,
                        "product_max_qty": stocked.max_units,
                        # Odoo's scheduler shall not order from companies that do not exist.
                        "trigger": "manual",
                    }
                ]
                for stocked in self._clinic.medicines
                if products[_product_key(stocked.medicine.id)] not in there
            ],
        )

    def _load_lots(
        self, products: Mapping[str, int], company: int
    ) -> dict[tuple[int, str], tuple[int, bool]]:
        """Return the id of each of the clinic's lots, and whether it ever moved.

        A product that has any lot gets no other: they are made in one transaction, so that it is
        somebody's, or of a load with another seed.
        """
        there = self._read_lots(list(products.values()))
        known = {product for product, _ in there}
        missing = [
            [
                {
                    "product_id": products[_product_key(stocked.medicine.id)],
                    "name": lot.name,
                    "company_id": company,
                    # The end of its last day, in Odoo's form of a UTC time.
                    "expiration_date": f"{lot.expires_on} 23:59:59",
                }
                for lot in stocked.lots
            ]
            for stocked in self._clinic.medicines
            if products[_product_key(stocked.medicine.id)] not in known
        ]
        self._create("stock.lot", "lots", missing)
        if missing:
            there = self._read_lots(list(products.values()))
        ours = {
            key: there[key]
            for stocked in self._clinic.medicines
            for lot in stocked.lots
            if (key := (products[_product_key(stocked.medicine.id)], lot.name)) in there
        }
        moved: set[int] = set()
        for batch in batched(ours.values(), 500):
            moved.update(
                line["lot_id"]
                for line in self._odoo.call(
                    "stock.move.line",
                    "search_read",
                    [["lot_id", "in", list(batch)], ["state", "=", "done"]],
                    ["lot_id"],
                    load=None,
                )
            )
        return {key: (lot, lot in moved) for key, lot in ours.items()}

    def _read_lots(self, products: Sequence[int]) -> dict[tuple[int, str], int]:
        return {
            (lot["product_id"], lot["name"]): lot["id"]
            for lot in self._odoo.call(
                "stock.lot",
                "search_read",
                [["product_id", "in", list(products)]],
                ["product_id", "name"],
                load=None,
            )
        }

    def _open_stock(
        self,
        products: Mapping[str, int],
        lots: Mapping[tuple[int, str], tuple[int, bool]],
        locations: Mapping[str, int],
    ) -> None:
        """Count the opening stock in, as an inventory: Odoo's history then begins with it.

        A lot that ever moved has been opened, whatever is left of it. Both places of a lot go
        into one transaction, so that an interruption leaves it opened or not at all.
        """
        rows: list[list[dict[str, Any]]] = []
        for stocked in self._clinic.medicines:
            product = products[_product_key(stocked.medicine.id)]
            for lot in stocked.lots:
                lot_id, moved = lots.get((product, lot.name), (0, True))
                if not moved:
                    rows.append([
                        {
                            "product_id": product,
                            "lot_id": lot_id,
                            "location_id": locations[location],
                            "inventory_quantity": units,
                        }
                        for location, units in (
                            ("location_store", lot.store_units),
                            ("location_pharmacy", lot.pharmacy_units),
                        )
                        if units
                    ])  # fmt: skip

        def count_in(batch: Sequence[list[dict[str, Any]]]) -> None:
            apply_count(self._odoo, [quant for lot in batch for quant in lot])

        # One at a time: each count writes the date of the last one on the two locations, so that
        # parallel ones would only roll one another back.
        opened = [row for row in rows if row]
        self._in_batches("opening stock of lots", opened, count_in, BATCH * 2, parallel=1)

    def _load(
        self, model: str, what: str, rows: Mapping[str, Mapping[str, Any]], batch: int = BATCH
    ) -> dict[str, int]:
        """Create what has no external id yet; return all ids by key."""
        known = _external_ids(self._odoo, model)
        missing = {key: row for key, row in rows.items() if key not in known}

        def create(part: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
            columns = list(part[0][1])
            self._import(
                model,
                ["id", *columns],
                [[f"{NAMESPACE}.{key}", *(row[column] for column in columns)] for key, row in part],
                _QUIET,
            )

        self._in_batches(what, list(missing.items()), create, batch)
        if missing:
            known = _external_ids(self._odoo, model)
        return {key: known[key] for key in rows}

    def _create(self, model: str, what: str, groups: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Create records; those of one group in one transaction."""
        self._in_batches(
            what,
            groups,
            lambda batch: self._odoo.call(
                model, "create", [dict(row) for group in batch for row in group], context=_QUIET
            ),
            BATCH * 2,
            size=len,
        )

    def _import(
        self,
        model: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        context: Mapping[str, Any],
    ) -> None:
        """Call Odoo's own import: it creates or updates by external id, all rows or none."""
        answer = self._odoo.call(
            model,
            "load",
            list(columns),
            [[str(value) for value in row] for row in rows],
            context=dict(context),
        )
        if not answer["ids"]:
            said = "; ".join(str(message["message"]) for message in answer["messages"][:3])
            raise PermanentError(f"Odoo {model}.load refused {len(rows)} rows: {said[:500]}")

    def _in_batches[Row](
        self,
        what: str,
        rows: Sequence[Row],
        work: Callable[[Sequence[Row]], object],
        batch: int = BATCH,
        *,
        parallel: int | None = None,
        size: Callable[[Row], int] = lambda row: 1,
    ) -> None:
        """Work on rows, a batch at a time; ``size`` says how many records one row is."""
        self._progress.start(what[:1].upper() + what[1:], sum(map(size, rows)))

        def do(part: Sequence[Row]) -> int:
            work(part)
            return sum(map(size, part))

        with ThreadPoolExecutor(parallel or self._parallel) as pool:
            for done in pool.map(do, batched(rows, batch)):
                self.created[what] += done
                self._progress.advance(done)


def apply_count(odoo: Odoo, quants: Iterable[Mapping[str, Any]]) -> None:
    """Count quantities in, as the screen *Physical Inventory* does.

    Args:
        odoo: Odoo.
        quants: Each with product_id, location_id, lot_id and inventory_quantity.

    Raises:
        PermanentError: Somebody changed the same quantities at the same moment, three times over.
    """
    context = {**_QUIET, "inventory_mode": True}
    rows = [dict(quant) for quant in quants]
    for _ in range(3):
        ids = odoo.call("stock.quant", "create", rows, context=context)
        conflict = odoo.call("stock.quant", "action_apply_inventory", ids, context=context)
        if not conflict:  # else it is the wizard that asks a person which figure is right
            return
    raise PermanentError(
        f"Odoo stock.quant.action_apply_inventory: {len(rows)} quantities changed while they were "
        f"counted. Close the open counts in Odoo (Physical Inventory), then run this again."
    )


def opening_totals(clinic: Clinic) -> Iterator[tuple[str, Decimal]]:
    """Yield each SKU with all that the clinic opens with of it, for a look at what was loaded."""
    for stocked in clinic.medicines:
        yield (
            stocked.sku,
            Decimal(sum(lot.store_units + lot.pharmacy_units for lot in stocked.lots)),
        )


def _external_ids(odoo: Odoo, model: str) -> dict[str, int]:
    return {
        row["name"]: row["res_id"]
        for row in odoo.call(
            "ir.model.data",
            "search_read",
            [["module", "=", NAMESPACE], ["model", "=", model]],
            ["name", "res_id"],
        )
    }


def _by_xmlid(odoo: Odoo, xmlid: str) -> int:
    module, _, name = xmlid.partition(".")
    rows = odoo.call(
        "ir.model.data",
        "search_read",
        [["module", "=", module], ["name", "=", name]],
        ["res_id"],
    )
    if not rows:
        raise PermanentError(f"Odoo has no record {xmlid}: is its module {module} installed?")
    return int(rows[0]["res_id"])


def _warehouse(odoo: Odoo) -> dict[str, Any]:
    rows = odoo.call(
        "stock.warehouse",
        "search_read",
        [],
        ["company_id", "lot_stock_id", "in_type_id", "out_type_id", "int_type_id"],
        limit=1,
        order="id",
        load=None,
    )
    if not rows:
        raise PermanentError("Odoo has no warehouse. Create one, then run this again.")
    return dict(rows[0])


def _product_key(medicine_id: str) -> str:
    return f"product_{medicine_id}"


def _category_key(category_id: str) -> str:
    return f"category_{category_id}"
