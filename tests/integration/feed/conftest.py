"""A running Odoo for each module, and stock in it."""

from dataclasses import dataclass

import pytest
from support.feed_mirror import Mirror
from support.odoo import ADMIN, OdooServer, odoo_cluster, odoo_server  # noqa: F401


@dataclass(frozen=True)
class Stock:
    """Records that the tests change.

    Attributes:
        products: ids of products tracked by lot, without stock of their own.
        lots: a lot of each product.
        shelf: id of an internal location.
    """

    products: tuple[int, ...]
    lots: tuple[int, ...]
    shelf: int


@pytest.fixture(scope="module")
def stock(odoo_server: OdooServer) -> Stock:  # noqa: F811
    call = odoo_server.call
    main = call("stock.warehouse", "search_read", ADMIN, domain=[], fields=["lot_stock_id"])[0]
    shelf = call(
        "stock.location",
        "create",
        ADMIN,
        vals_list=[{"name": "Test shelf", "location_id": main["lot_stock_id"][0]}],
    )[0]
    products = call(
        "product.product",
        "create",
        ADMIN,
        vals_list=[
            {"name": f"Medicine {n}", "type": "consu", "is_storable": True, "tracking": "lot"}
            for n in range(6)
        ],
    )
    lots = call(
        "stock.lot",
        "create",
        ADMIN,
        vals_list=[{"name": f"L{product}", "product_id": product} for product in products],
    )
    odoo_server.sql(
        """
        INSERT INTO stock_quant (product_id, location_id, lot_id, company_id, quantity,
                                 reserved_quantity, in_date)
        SELECT p, %s, l, 1, 100, 0, now() FROM unnest(%s::int[], %s::int[]) AS t(p, l)
        """,
        shelf,
        products,
        lots,
    )
    return Stock(tuple(products), tuple(lots), shelf)


@pytest.fixture
def mirror(odoo_server: OdooServer, stock: Stock) -> Mirror:  # noqa: F811
    return Mirror(odoo_server)
