from contextlib import contextmanager

from odoo.tests import TransactionCase

from ..feed.cursor import Cursor
from ..feed.page import read_between
from ..feed.snapshot import Snapshot


class FeedCase(TransactionCase):
    """Stock to change, and eyes on the outbox.

    A test is one transaction, whose rows no snapshot of its own sees. `written` therefore looks
    into the outbox, and `page` reads up to a snapshot that is one transaction ahead.
    """

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env["res.lang"]._activate_lang("en_US")
        cls.env = cls.env(context={**cls.env.context, "lang": "en_US"})
        cls.warehouse = cls.env["stock.warehouse"].search([], limit=1)
        cls.stock = cls.warehouse.lot_stock_id
        cls.shelf = cls.env["stock.location"].create({"name": "Shelf", "location_id": cls.stock.id})
        cls.customers = cls.env.ref("stock.stock_location_customers")
        cls.category = cls.env["product.category"].create({"name": "Antibiotics"})
        cls.product = cls.env["product.product"].create(
            {
                "name": "Amoxicillin",
                "type": "consu",
                "is_storable": True,
                "tracking": "lot",
                "use_expiration_date": True,
                "categ_id": cls.category.id,
                "list_price": 1.25,
            }
        )
        cls.lot = cls.env["stock.lot"].create(
            {
                "name": "A1",
                "product_id": cls.product.id,
                "expiration_date": "2099-01-01",
                "removal_date": "2098-12-01",  # Odoo reserves no lot past it
            }
        )
        cls.env["stock.quant"]._update_available_quantity(
            cls.product, cls.shelf, 12.5, lot_id=cls.lot
        )
        cls.env.flush_all()

    @property
    def quants(self):
        return self.env["stock.quant"].search([("product_id", "=", self.product.id)])

    @property
    def level(self):
        return [self.product.id, self.shelf.id, self.lot.id]

    def let_ids_be_chosen(self):
        """Let this test, and nobody else, write rows and marks of any transaction."""
        for table, column, function in (
            ("clinic_change", "xid", "clinic_change_xid()"),
            ("clinic_change_mark", "ended_below", "clinic_change_ended_below()"),
        ):
            self.env.cr.execute(
                f"ALTER TABLE {table} ALTER COLUMN {column} DROP EXPRESSION,"
                f" ALTER COLUMN {column} SET DEFAULT {function}"
            )

    def last_row(self):
        self.env.flush_all()
        self.env.cr.execute("SELECT coalesce(max(id), 0) FROM clinic_change")
        return self.env.cr.fetchone()[0]

    def rows_after(self, row_id):
        self.env.flush_all()
        self.env.cr.execute(
            "SELECT entity, coalesce(keys, to_jsonb(res_id)) FROM clinic_change"
            " WHERE id > %s ORDER BY id",
            (row_id,),
        )
        return self.env.cr.fetchall()

    @contextmanager
    def assertWrites(self, *expected):
        """Assert which (entity, key) the outbox gets; each at least once, nothing else."""
        before = self.last_row()
        yield
        found = {(entity, str(key)) for entity, key in self.rows_after(before)}
        self.assertEqual(found, {(entity, str(key)) for entity, key in expected})

    def ahead(self):
        """Return a (cursor, snapshot) pair around this test's own transaction."""
        self.env.flush_all()
        self.env.cr.execute("SELECT pg_current_xact_id()::text")
        xid = int(self.env.cr.fetchone()[0])
        return Cursor("0" * 16, Snapshot(xid, xid, ())), Snapshot(xid + 1, xid + 1, ())

    def page(self, limit=10_000):
        cursor, until = self.ahead()
        return read_between(
            self.env.cr, self.env["clinic.change"]._entities(), cursor, until, limit
        )

    def shown(self, entity, public_id):
        """Return the one change of an entity's record in this transaction's page."""
        found = [c for c in self.page()["changes"] if (c["entity"], c["id"]) == (entity, public_id)]
        self.assertEqual(len(found), 1, f"{entity} {public_id} is {len(found)} times in the page")
        return found[0]
