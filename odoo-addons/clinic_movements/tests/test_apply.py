import uuid

from odoo.exceptions import ValidationError

from .common import MovementCase


class TestApply(MovementCase):
    def test_a_delivery_is_a_transfer_to_customers_that_says_who_and_why(self):
        answer = self.ask("out", "2")
        self.assertEqual((answer["state"], answer["code"]), ("applied", None))
        self.assertEqual(self.left(), 8)
        move = self.moves_of(answer)
        self.assertEqual((move.state, move.location_dest_id.usage), ("done", "customer"))
        self.assertEqual(move.picking_id.name, answer["picking"])
        self.assertEqual(move.picking_id.state, "done")
        self.assertEqual(move.picking_id.origin, "R-1 · Ward 3 · ana")
        self.assertEqual(move.picking_id.clinic_request_id.picking_id, move.picking_id)
        self.assertEqual(move.move_line_ids.clinic_request_id, move.clinic_request_id)
        self.assertEqual(answer["ours"]["quantity"], "8")

    def test_a_receipt_comes_from_suppliers_and_makes_its_lot(self):
        answer = self.ask_pills("in", "3", lot_name="NEW")
        move = self.moves_of(answer)
        self.assertEqual(move.location_id.usage, "supplier")
        self.assertEqual(move.lot_ids.name, "NEW")
        self.assertEqual(self.left(self.pills, move.lot_ids), 3)

    def test_a_lot_is_taken_by_its_name_or_id(self):
        self.ask_pills("out", "1", lot_name="A1")
        self.ask_pills("out", "1", lot_id=self.good.id)
        self.assertEqual(self.left(self.pills, self.good), 8)

    def test_an_adjustment_is_an_inventory_move_either_way(self):
        for quantity, left in (("-4", 6), ("1", 7)):
            answer = self.ask("adjustment", quantity)
            self.assertTrue(self.moves_of(answer).is_inventory)
            self.assertFalse(answer["picking"])
            self.assertEqual(self.left(), left)
        self.assertEqual(self.moves_of(answer).reference, "R-1 · Ward 3 · ana")

    def test_a_count_sets_what_is_there(self):
        answer = self.ask("count", "7", expected_quantity="10")
        self.assertEqual((self.left(), self.moves_of(answer).quantity), (7, 3))
        self.assertEqual(self.ask("count", "7")["moves"], [])
        self.assertEqual(self.left(), 7)

    def test_the_same_id_moves_once_and_answers_the_same(self):
        request_id = str(uuid.uuid4())
        first = self.ask(request_id=request_id)
        self.env.flush_all()
        self.env.invalidate_all()
        self.assertEqual(self.ask(request_id=request_id), first)
        self.assertEqual(self.ask(request_id=request_id, quantity="5"), first)
        self.assertEqual(self.left(), 8)

    def test_decimal_quantities_keep_their_digits(self):
        self.gauze.uom_id.rounding = 0.01
        self.assertEqual(self.ask("out", "0.1")["ours"]["quantity"], "9.9")

    def test_what_is_no_request_is_refused(self):
        for wrong in (
            {"quantity": "-1"},
            {"quantity": "NaN"},
            {"quantity": 0.5},
            {"quantity": "x"},
            {"kind": "other"},
            {"request_id": "no uuid"},
            {"medication_id": "7"},
            {"reason": 5},
        ):
            with self.assertRaises(ValidationError):
                self.ask(**wrong)
