import uuid

from .common import MovementCase


class TestConflicts(MovementCase):
    def check(self, code, ask, **forced):
        """It is a conflict that moves nothing; return the answer."""
        before = self.env["stock.move"].search_count([])
        answer = ask()
        self.assertEqual((answer["state"], answer["code"]), ("conflict", code))
        self.assertTrue(answer["ours"]["detail"])
        self.assertEqual(answer["moves"], [])
        self.assertEqual(self.env["stock.move"].search_count([]), before)
        return answer

    def test_not_enough_stock(self):
        request = {"request_id": str(uuid.uuid4()), "quantity": "11"}
        answer = self.check("not_enough_stock", lambda: self.ask(**request))
        self.assertEqual((answer["ours"]["quantity"], answer["theirs"]["quantity"]), ("10", "11"))
        self.check("not_enough_stock", lambda: self.ask("adjustment", "-11"))
        forced = self.ask(**request, apply_anyway=True)
        self.assertEqual((forced["state"], self.left()), ("applied", -1))

    def test_what_is_promised_to_others_is_not_there(self):
        self.env["stock.quant"]._update_reserved_quantity(self.gauze, self.shelf, 9)
        answer = self.check("not_enough_stock", self.ask)
        self.assertEqual((answer["ours"]["quantity"], answer["ours"]["available"]), ("10", "1"))

    def test_a_conflict_that_no_longer_is_one_is_booked(self):
        request = {"request_id": str(uuid.uuid4()), "quantity": "11"}
        self.check("not_enough_stock", lambda: self.ask(**request))
        self.env["stock.quant"]._update_available_quantity(self.gauze, self.shelf, 5)
        self.assertEqual(self.ask(**request)["state"], "applied")
        self.assertEqual(self.left(), 4)

    def test_an_expired_lot_neither_comes_nor_goes_but_is_corrected(self):
        for kind in ("in", "out"):
            self.check("lot_expired", lambda kind=kind: self.ask_pills(kind, lot_name="OLD"))
        self.assertEqual(self.ask_pills("adjustment", "-10", lot_name="OLD")["state"], "applied")
        self.assertEqual(self.left(self.pills, self.expired), 0)

    def test_an_expired_lot_goes_when_a_person_says_so(self):
        self.assertEqual(self.ask_pills(lot_name="OLD", apply_anyway=True)["state"], "applied")
        self.assertEqual(self.left(self.pills, self.expired), 8)

    def test_an_unknown_lot(self):
        for lot in ({"lot_name": "NO"}, {"lot_id": 2**31 - 1}, {}):
            self.check("lot_unknown", lambda lot=lot: self.ask_pills(**lot))
        self.check("lot_unknown", lambda: self.ask(lot_name="A1"))
        self.check("lot_unknown", lambda: self.ask(lot_id=self.good.id))
        self.assertFalse(self.env["stock.lot"].search([("name", "=", "NO")]))

    def test_an_unknown_product_or_location(self):
        self.check("product_unknown", lambda: self.ask(medication_id=2**31 - 1))
        self.check("location_unknown", lambda: self.ask(location_id=2**31 - 1))
        supplier = self.env.ref("stock.stock_location_suppliers")
        self.check("location_unknown", lambda: self.ask(location_id=supplier.id))

    def test_an_archived_product(self):
        self.gauze.active = False
        self.check("product_archived", self.ask)
        self.assertEqual(self.ask(apply_anyway=True)["state"], "applied")

    def test_a_count_that_expected_something_else(self):
        request = {"kind": "count", "quantity": "7", "expected_quantity": "9"}
        answer = self.check("count_differs", lambda: self.ask(**request))
        self.assertEqual(answer["theirs"]["expected_quantity"], "9")
        self.assertEqual(answer["ours"]["quantity"], "10")
        self.ask(**request, apply_anyway=True)
        self.assertEqual(self.left(), 7)

    def test_what_odoo_refuses_is_a_conflict_with_its_words(self):
        answer = self.check("refused", lambda: self.ask("in", "0.000001"))
        self.assertTrue(answer["ours"]["detail"])
        service = self.env["product.product"].create({"name": "Visit", "type": "service"})
        self.check("refused", lambda: self.ask(medication_id=service.id))

    def test_a_conflict_is_in_the_list_with_its_reason(self):
        request_id = str(uuid.uuid4())
        self.check("not_enough_stock", lambda: self.ask(quantity="99", request_id=request_id))
        row = self.env["clinic.movement.request"].search([("request_id", "=", request_id)])
        self.assertEqual((row.state, row.product_id, row.person), ("conflict", self.gauze, "ana"))
        self.assertTrue(row.detail)
