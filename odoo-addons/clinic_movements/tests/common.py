import uuid

from odoo.tests import TransactionCase, new_test_user, tagged


@tagged("post_install", "-at_install")
class MovementCase(TransactionCase):
    """A shelf with ten of a lot and ten without one, and the account that books."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.stock = cls.env["stock.warehouse"].search([], limit=1).lot_stock_id
        cls.shelf = cls.env["stock.location"].create({"name": "Shelf", "location_id": cls.stock.id})
        cls.gauze = cls.storable("Gauze")
        cls.pills = cls.storable("Amoxicillin", tracking="lot", use_expiration_date=True)
        lot = {"product_id": cls.pills.id, "removal_date": False}
        cls.good = cls.env["stock.lot"].create(
            {**lot, "name": "A1", "expiration_date": "2099-01-01"}
        )
        cls.expired = cls.env["stock.lot"].create(
            {**lot, "name": "OLD", "expiration_date": "2020-01-01"}
        )
        quants = cls.env["stock.quant"]
        quants._update_available_quantity(cls.gauze, cls.shelf, 10)
        for each in (cls.good, cls.expired):
            quants._update_available_quantity(cls.pills, cls.shelf, 10, lot_id=each)
        cls.service = cls.env.ref("clinic_movements.user_movements")
        cls.manager = new_test_user(cls.env, "keeper", groups="stock.group_stock_manager")
        cls.clerk = new_test_user(cls.env, "clerk", groups="base.group_user")

    @classmethod
    def storable(cls, name, **values):
        return cls.env["product.product"].create(
            {"name": name, "type": "consu", "is_storable": True, **values}
        )

    def ask(self, kind="out", quantity="2", user=None, **values):
        """Ask for a movement of gauze, or of what is named."""
        request = {
            "request_id": str(uuid.uuid4()),
            "kind": kind,
            "medication_id": self.gauze.id,
            "location_id": self.shelf.id,
            "quantity": quantity,
            "person": "ana",
            "reason": "Ward 3",
            "reference": "R-1",
            "client": "till",
            **values,
        }
        requests = self.env["clinic.movement.request"].with_user(user or self.service)
        return requests.apply(request)

    def ask_pills(self, kind="out", quantity="2", **values):
        return self.ask(kind, quantity, medication_id=self.pills.id, **values)

    def left(self, product=None, lot=None):
        product = product or self.gauze
        domain = [("product_id", "=", product.id), ("location_id", "=", self.shelf.id)]
        domain += [("lot_id", "=", lot.id)] if lot else []
        return sum(self.env["stock.quant"].search(domain).mapped("quantity"))

    def moves_of(self, answer):
        return self.env["stock.move"].browse(answer["moves"])
