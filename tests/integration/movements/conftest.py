"""A real Odoo, a shared database, and what people ask for between them."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from clinic.clients.movements_db import MovementsDb
from clinic.clients.odoo import OdooClient
from clinic.clients.odoo_movements import OdooMovements
from clinic.inventory.movements import MovementWriter, Settings
from support.odoo import ADMIN, BOOKER, OdooServer, odoo_cluster, odoo_server  # noqa: F401
from support.shared_db import Database, created, migrated
from support.stack_env import ROOT

PROGRAM = ROOT / "tests" / "support" / "broken_movements.py"


@pytest.fixture(scope="session")
def template() -> Iterator[Database]:
    with migrated() as database:
        yield database


@dataclass
class Desk:
    """Where movements are asked for, and both sides are looked at."""

    odoo: OdooServer
    database: Database
    shelf: int

    @property
    def key(self) -> str:
        return self.odoo.headers(BOOKER)["Authorization"].removeprefix("bearer ")

    def product(self, have: str = "100", **values: Any) -> int:
        """Make a product of which there is so much on the shelf, and return its id."""
        kind = {"name": f"P {uuid.uuid4()}", "type": "consu", "is_storable": True}
        vals = [{**kind, **values}]
        (product,) = self.odoo.call("product.product", "create", ADMIN, vals_list=vals)
        if have != "0":
            self.odoo.sql(
                "INSERT INTO stock_quant (product_id, location_id, company_id, quantity,"
                " reserved_quantity, in_date) VALUES (%s, %s, 1, %s, 0, now())",
                product,
                self.shelf,
                have,
            )
        return int(product)

    def ask(self, medication_id: int, kind: str, quantity: str, **values: Any) -> uuid.UUID:
        """Ask as the API does, and return the request's id."""
        row = {
            "id": uuid.uuid4(), "idempotency_key": str(uuid.uuid4()), "client": "till",
            "person": "ana", "kind": kind, "medication_id": medication_id,
            "location_id": self.shelf, "quantity": quantity, "reason": "Ward 3", "source": "api",
        } | values  # fmt: skip
        names = ", ".join(row)
        marks = ", ".join(f"%({name})s" for name in row)
        with psycopg.connect(self.database.api_url, autocommit=True) as api:
            api.execute(f"INSERT INTO movement_requests ({names}) VALUES ({marks})", row)  # noqa: S608
        return row["id"]

    def request(self, request_id: uuid.UUID) -> dict[str, Any]:
        (row,) = self.database.query("SELECT * FROM movement_requests WHERE id = %s", request_id)
        return row

    def conflict(self, request_id: uuid.UUID) -> dict[str, Any]:
        (row,) = self.database.query(
            "SELECT * FROM sync_conflicts WHERE request_id = %s AND state = 'open'", request_id
        )
        return row

    def left(self, product: int) -> float:
        """Return what Odoo has of a product on the shelf."""
        ((left,),) = self.odoo.sql(
            "SELECT coalesce(sum(quantity), 0)::float FROM stock_quant"
            " WHERE product_id = %s AND location_id = %s",
            product,
            self.shelf,
        )
        return left

    def moves(self, product: int) -> int:
        ((count,),) = self.odoo.sql(
            "SELECT count(*) FROM stock_move WHERE product_id = %s AND state = 'done'", product
        )
        return int(count)

    def run(self, at_step: int = 0) -> int:
        """Book what is due in a process that may kill itself; return its exit status."""
        return subprocess.run(
            [
                sys.executable, str(PROGRAM), self.odoo.url, self.odoo.database,
                self.database.sync_url, str(at_step),
            ],
            env=os.environ
            | {"PYTHONPATH": str(ROOT / "include"), "ODOO_MOVEMENTS_API_KEY": self.key},
            check=False,
            timeout=60,
        ).returncode  # fmt: skip

    def writer(self, key: str | None = None) -> MovementWriter:
        odoo = OdooClient.connect(
            self.odoo.url, database=self.odoo.database, api_key=key or self.key, timeout_s=20
        )
        return MovementWriter(
            MovementsDb(self.database.sync_url), OdooMovements(odoo), Settings(lease_s=30)
        )

    def book_all(self) -> None:
        writer = self.writer()
        with closing(writer._ledger):
            while writer.step():
                pass


@pytest.fixture(scope="module")
def shelf(odoo_server: OdooServer) -> int:  # noqa: F811
    (main,) = odoo_server.call(
        "stock.warehouse", "search_read", ADMIN, domain=[], fields=["lot_stock_id"], limit=1
    )
    (shelf,) = odoo_server.call(
        "stock.location",
        "create",
        ADMIN,
        vals_list=[{"name": "Shelf", "location_id": main["lot_stock_id"][0]}],
    )
    return int(shelf)


@pytest.fixture
def desk(odoo_server: OdooServer, template: Database, shelf: int) -> Iterator[Desk]:  # noqa: F811
    with created(template.name) as database:
        yield Desk(odoo_server, database, shelf)
