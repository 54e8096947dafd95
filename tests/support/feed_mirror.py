"""A mirror in memory that is kept by the feed, and the truth to compare it with."""

from collections import Counter
from decimal import Decimal
from typing import Any

from support.odoo import OdooServer

ENTITIES = ("location", "product", "lot", "reorder_rule", "stock_level", "movement", "patient")

Page = dict[str, Any]


class Mirror:
    """What a reader of the feed knows.

    Attributes:
        cursor: of the last page.
        rows: values by (entity, id).
        deliveries: how often each (entity, id) came.
    """

    def __init__(self, server: OdooServer) -> None:
        """Load everything, as after a reset: first the cursor, then the state."""
        self.server = server
        self.rows: dict[tuple[str, Any], dict[str, Any]] = {}
        self.deliveries: Counter[tuple[str, Any]] = Counter()
        self.cursor: str = server.call("clinic.change", "feed", cursor=None)["cursor"]
        self.rows = full_state(server)

    def apply(self, page: Page, limit: int | None = None) -> None:
        """Take a page in, and check that it is one."""
        assert set(page) == {"cursor", "changes", "more", "reset", "reason"}
        assert not page["reset"], page["reason"]
        keys = [(change["entity"], change["id"]) for change in page["changes"]]
        assert len(keys) == len(set(keys)), "a record is twice in a page"
        order = [ENTITIES.index(entity) for entity, _id in keys]
        assert order == sorted(order), "the entities are not in their order"
        assert limit is None or len(keys) <= limit
        for key, change in zip(keys, page["changes"], strict=True):
            assert set(change) == {"entity", "id", "op", "values", "changed_at"}
            assert change["changed_at"]
            self.deliveries[key] += 1
            if change["op"] == "delete":
                assert change["values"] is None
                self.rows.pop(key, None)
            else:
                assert change["op"] == "upsert"
                self.rows[key] = change["values"]
        self.cursor = page["cursor"]

    def poll(self, limit: int = 1000) -> Page:
        """Fetch one page by JSON-2 and take it in."""
        page: Page = self.server.call("clinic.change", "feed", cursor=self.cursor, limit=limit)
        self.apply(page, limit)
        return page

    def catch_up(self, limit: int = 1000) -> None:
        """Fetch until there is no more."""
        while self.poll(limit)["more"]:
            pass


def full_state(server: OdooServer, limit: int = 1000) -> dict[tuple[str, Any], dict[str, Any]]:
    """Return what `state` says of every entity, by (entity, id)."""
    rows: dict[tuple[str, Any], dict[str, Any]] = {}
    for entity in ENTITIES:
        after = None
        while True:
            part = server.call("clinic.change", "state", entity=entity, after=after, limit=limit)
            rows |= {(entity, change["id"]): change["values"] for change in part["changes"]}
            after = part["after"]
            if after is None:
                break
    return rows


def sums_of_quants(server: OdooServer) -> dict[str, tuple[Decimal, Decimal]]:
    """Return (quantity, reserved) by stock level, summed here from the quants themselves."""
    sums: dict[str, tuple[Decimal, Decimal]] = {}
    for product, location, lot, quantity, reserved in server.sql(
        """
        SELECT q.product_id, q.location_id, coalesce(q.lot_id, 0), q.quantity, q.reserved_quantity
          FROM stock_quant q JOIN stock_location l ON l.id = q.location_id
         WHERE l.usage IN ('internal', 'transit')
        """
    ):
        key = f"{product}:{location}:{lot}"
        so_far = sums.get(key, (Decimal(0), Decimal(0)))
        sums[key] = (so_far[0] + (quantity or 0), so_far[1] + reserved)
    return sums


def mirrored_sums(mirror: Mirror) -> dict[str, tuple[Decimal, Decimal]]:
    """Return (quantity, reserved) by stock level, as the mirror has them."""
    return {
        key: (Decimal(values["quantity"]), Decimal(values["reserved_quantity"]))
        for (entity, key), values in mirror.rows.items()
        if entity == "stock_level"
    }
