from odoo import Command
from odoo.tests import tagged
from psycopg2.extras import Json

from .common import FeedCase


@tagged("post_install", "-at_install")
class TestStockLevels(FeedCase):
    def test_a_quant_changed_through_the_orm_is_written(self):
        with self.assertWrites(("stock_level", self.level)):
            self.env["stock.quant"]._update_available_quantity(
                self.product, self.shelf, 1, lot_id=self.lot
            )

    def test_a_quant_changed_by_raw_sql_is_written(self):
        with self.assertWrites(("stock_level", self.level)):
            self.env.cr.execute(
                "UPDATE stock_quant SET quantity = 3 WHERE id = %s", (self.quants.id,)
            )

    def test_an_update_that_changes_nothing_shown_writes_nothing(self):
        with self.assertWrites():
            self.env.cr.execute(
                "UPDATE stock_quant SET write_date = now(), quantity = quantity, in_date = now()"
                " WHERE id = %s",
                (self.quants.id,),
            )

    def test_numbers_that_differ_only_in_scale_are_no_change(self):
        with self.assertWrites():
            self.env.cr.execute(
                "UPDATE stock_quant SET quantity = 12.500 WHERE id = %s", (self.quants.id,)
            )

    def test_a_quant_that_moves_writes_the_key_it_left_and_the_one_it_came_to(self):
        with self.assertWrites(
            ("stock_level", self.level),
            ("stock_level", [self.product.id, self.stock.id, self.lot.id]),
        ):
            self.env.cr.execute(
                "UPDATE stock_quant SET location_id = %s WHERE id = %s",
                (self.stock.id, self.quants.id),
            )

    def test_quants_without_a_lot_have_the_lot_zero(self):
        with self.assertWrites(("stock_level", [self.product.id, self.shelf.id, 0])):
            self.env["stock.quant"]._update_available_quantity(self.product, self.shelf, 1)

    def test_merged_quants_are_seen_though_odoo_merges_them_by_sql(self):
        quant = self.quants
        self.env.cr.execute(
            """
            INSERT INTO stock_quant (product_id, location_id, lot_id, company_id, quantity,
            reserved_quantity, in_date) SELECT product_id, location_id, lot_id, company_id, 8.5, 0,
            in_date FROM stock_quant WHERE id = %s """,
            (quant.id,),
        )
        self.env.invalidate_all()
        self.assertEqual(len(self.quants), 2)
        with self.assertWrites(("stock_level", self.level)):
            self.env["stock.quant"]._merge_quants()
        self.env.invalidate_all()
        self.assertEqual(self.quants.quantity, 21)
        self.assertEqual(
            self.shown("stock_level", ":".join(map(str, self.level)))["values"]["quantity"], "21.00"
        )

    def test_a_zero_quant_that_odoo_unlinks_becomes_a_delete(self):
        self.env["stock.quant"]._unlink_zero_quants()  # those that the database came with
        self.env["stock.quant"]._update_available_quantity(
            self.product, self.shelf, -12.5, lot_id=self.lot
        )
        self.env.flush_all()
        with self.assertWrites(("stock_level", self.level)):
            self.env["stock.quant"]._unlink_zero_quants()
        self.assertFalse(self.quants)
        change = self.shown("stock_level", ":".join(map(str, self.level)))
        self.assertEqual((change["op"], change["values"]), ("delete", None))

    def test_quants_of_several_owners_are_one_sum(self):
        owner = self.env["res.partner"].create({"name": "Owner"})
        self.env["stock.quant"]._update_available_quantity(
            self.product, self.shelf, 0.25, lot_id=self.lot, owner_id=owner
        )
        change = self.shown("stock_level", ":".join(map(str, self.level)))
        self.assertEqual(change["values"]["quantity"], "12.75")

    def test_a_location_that_ceases_to_be_internal_takes_its_levels_along(self):
        with self.assertWrites(("location", self.shelf.id), ("stock_level", self.level)):
            self.env.cr.execute(
                "UPDATE stock_location SET usage = 'inventory' WHERE id = %s", (self.shelf.id,)
            )
        self.assertEqual(self.shown("stock_level", ":".join(map(str, self.level)))["op"], "delete")
        with self.assertWrites(("location", self.shelf.id), ("stock_level", self.level)):
            self.env.cr.execute(
                "UPDATE stock_location SET usage = 'transit' WHERE id = %s", (self.shelf.id,)
            )
        self.assertEqual(self.shown("stock_level", ":".join(map(str, self.level)))["op"], "upsert")

    def test_what_is_rolled_back_writes_nothing(self):
        with self.assertWrites():
            self.env.cr.execute("SAVEPOINT before")
            self.env.cr.execute(
                "UPDATE stock_quant SET quantity = 99 WHERE id = %s", (self.quants.id,)
            )
            self.env.cr.execute("ROLLBACK TO SAVEPOINT before")

    def test_numbers_keep_every_digit(self):
        key = ":".join(map(str, self.level))
        for number in ("0.000000001", "1000000000", "1000000000.000000001", "NaN", "-2.50"):
            self.env.cr.execute(
                "UPDATE stock_quant SET quantity = %s::numeric WHERE id = %s",
                (number, self.quants.id),
            )
            self.assertEqual(self.shown("stock_level", key)["values"]["quantity"], number)


@tagged("post_install", "-at_install")
class TestProducts(FeedCase):
    def test_a_new_product_is_written(self):
        before = self.last_row()
        product = self.env["product.product"].create({"name": "Ibuprofen"})
        self.assertIn(("product", product.id), self.rows_after(before))

    def test_an_archived_product_stays_and_says_so(self):
        with self.assertWrites(("product", self.product.id)):
            self.product.active = False
        change = self.shown("product", self.product.id)
        self.assertEqual((change["op"], change["values"]["active"]), ("upsert", False))

    def test_a_template_change_is_its_products_change(self):
        attribute = self.env["product.attribute"].create(
            {
                "name": "Size",
                "value_ids": [Command.create({"name": "S"}), Command.create({"name": "L"})],
            }
        )
        template = self.env["product.template"].create(
            {
                "name": "Gloves",
                "attribute_line_ids": [
                    Command.create(
                        {
                            "attribute_id": attribute.id,
                            "value_ids": [Command.set(attribute.value_ids.ids)],
                        }
                    )
                ],
            }
        )
        self.assertEqual(len(template.product_variant_ids), 2)
        with self.assertWrites(
            *(("product", product.id) for product in template.product_variant_ids)
        ):
            template.list_price = 7
        with self.assertWrites():
            template.description = "not shown"

    def test_prices_and_costs_are_exact_texts_in_their_currency(self):
        self.product.write(
            {
                "list_price": 1234567.89,
                "standard_price": 0.1,
                "default_code": "AMX",
                "barcode": "84",
            }
        )
        values = self.shown("product", self.product.id)["values"]
        self.assertEqual(values["list_price"], "1234567.89")
        self.assertEqual(values["unit_cost"], "0.1")
        self.assertEqual(
            values["currency"], self.env["res.company"]._get_main_company().currency_id.name
        )
        self.assertEqual((values["sku"], values["barcode"]), ("AMX", "84"))
        self.assertEqual((values["storable"], values["tracking"]), (True, "lot"))

    def test_a_company_s_product_is_priced_in_its_currency(self):
        currency = (
            self.env["res.currency"].with_context(active_test=False).search([("name", "=", "CHF")])
        )
        company = self.env["res.company"].create({"name": "Branch", "currency_id": currency.id})
        product = self.env["product.product"].create({"name": "Imported", "company_id": company.id})
        values = self.shown("product", product.id)["values"]
        self.assertEqual((values["currency"], values["company_id"]), ("CHF", company.id))
        other = (
            self.env["res.currency"].with_context(active_test=False).search([("name", "=", "JPY")])
        )
        with self.assertWrites(("product", product.id)):
            self.env.cr.execute(
                "UPDATE res_company SET currency_id = %s WHERE id = %s", (other.id, company.id)
            )

    def test_names_come_in_every_installed_language(self):
        self.env["res.lang"]._activate_lang("es_ES")
        self.env["res.lang"]._activate_lang("fr_FR")
        self.product.with_context(lang="es_ES").name = "Amoxicilina 💊"
        names = self.shown("product", self.product.id)["values"]["name"]
        installed = {code for code, _name in self.env["res.lang"].get_installed()}
        self.assertLessEqual({"en_US", "es_ES", "fr_FR"}, installed)
        self.assertEqual(set(names), installed)
        self.assertEqual(names["es_ES"], "Amoxicilina 💊")
        self.assertEqual(names["en_US"], "Amoxicillin")
        self.assertEqual(names["fr_FR"], "Amoxicillin", "the source where there is no translation")

    def test_a_language_that_is_installed_changes_every_product(self):
        self.env.cr.execute("SELECT id FROM product_product")
        everyone = [row[0] for row in self.env.cr.fetchall()]
        self.assertTrue(everyone)
        with self.assertWrites(*(("product", product_id) for product_id in everyone)):
            self.env.cr.execute("UPDATE res_lang SET active = true WHERE code = 'it_IT'")

    def test_a_name_of_2000_characters_passes(self):
        name = "ñ" * 2000
        self.product.name = name
        self.assertEqual(self.shown("product", self.product.id)["values"]["name"]["en_US"], name)

    def test_renaming_a_category_or_its_parent_changes_the_products(self):
        with self.assertWrites(("product", self.product.id)):
            self.category.name = "Penicillins"
        parent = self.env["product.category"].create({"name": "Medicines"})
        self.category.parent_id = parent
        self.env.flush_all()
        with self.assertWrites(("product", self.product.id)):
            parent.name = "Drugs"
        self.assertEqual(
            self.shown("product", self.product.id)["values"]["category"], "Drugs / Penicillins"
        )

    def test_renaming_a_unit_changes_the_products(self):
        unit = self.env["uom.uom"].create({"name": "Blister"})
        self.product.uom_id = unit
        self.env.flush_all()
        with self.assertWrites(("product", self.product.id)):
            unit.name = "Strip"
        self.assertEqual(self.shown("product", self.product.id)["values"]["uom"], "Strip")

    def test_a_deleted_product_is_a_delete(self):
        product = self.env["product.product"].create({"name": "Mistake"})
        self.env.flush_all()
        with self.assertWrites(("product", product.id)):
            self.env.cr.execute("DELETE FROM product_product WHERE id = %s", (product.id,))
        self.assertEqual(self.shown("product", product.id)["op"], "delete")

    def test_a_price_per_company_written_by_sql_is_seen(self):
        company = self.env["res.company"]._get_main_company()
        with self.assertWrites(("product", self.product.id)):
            self.env.cr.execute(
                "UPDATE product_product SET standard_price = %s WHERE id = %s",
                (Json({str(company.id): 2.375}), self.product.id),
            )
        self.assertEqual(self.shown("product", self.product.id)["values"]["unit_cost"], "2.375")


@tagged("post_install", "-at_install")
class TestTheRest(FeedCase):
    def test_a_lot_s_expiry_moved_is_seen(self):
        with self.assertWrites(("lot", self.lot.id)):
            self.lot.expiration_date = "2027-02-01 10:30:00"
        values = self.shown("lot", self.lot.id)["values"]
        self.assertEqual(values["expires_at"], "2027-02-01T10:30:00+00:00")
        self.assertEqual((values["name"], values["product_id"]), ("A1", self.product.id))

    def test_an_infinite_date_is_no_date(self):
        self.env.cr.execute(
            "UPDATE stock_lot SET expiration_date = 'infinity' WHERE id = %s", (self.lot.id,)
        )
        self.assertIsNone(self.shown("lot", self.lot.id)["values"]["expires_at"])

    def test_reorder_rules_are_seen_changed_archived_and_deleted(self):
        rule = self.env["stock.warehouse.orderpoint"].create(
            {
                "product_id": self.product.id,
                "location_id": self.shelf.id,
                "product_min_qty": 5,
                "product_max_qty": 20,
            }
        )
        values = self.shown("reorder_rule", rule.id)["values"]
        self.assertEqual((values["min_quantity"], values["max_quantity"]), ("5.00", "20.00"))
        self.assertEqual(
            (values["product_id"], values["location_id"]), (self.product.id, self.shelf.id)
        )
        with self.assertWrites(("reorder_rule", rule.id)):
            rule.product_min_qty = 6
        with self.assertWrites():
            self.env.cr.execute(
                "UPDATE stock_warehouse_orderpoint SET snoozed_until = now() WHERE id = %s",
                (rule.id,),
            )
        rule_id = rule.id
        with self.assertWrites(("reorder_rule", rule_id)):
            rule.active = False
        with self.assertWrites(("reorder_rule", rule_id)):
            rule.unlink()
        self.assertEqual(self.shown("reorder_rule", rule_id)["op"], "delete")

    def test_renaming_a_location_changes_its_children(self):
        child = self.env["stock.location"].create({"name": "Box", "location_id": self.shelf.id})
        self.env.flush_all()
        with self.assertWrites(("location", self.shelf.id), ("location", child.id)):
            self.shelf.name = "Cupboard"
        self.assertTrue(
            self.shown("location", child.id)["values"]["name"].endswith("/Cupboard/Box")
        )

    def test_renaming_a_company_or_a_warehouse_changes_its_locations(self):
        company = self.env["res.company"].create({"name": "Second clinic"})
        warehouse = self.env["stock.warehouse"].search([("company_id", "=", company.id)])
        self.env.flush_all()
        locations = self.env["stock.location"].with_context(active_test=False)
        with self.assertWrites(
            *(
                ("location", place.id)
                for place in locations.search([("company_id", "=", company.id)])
            )
        ):
            company.name = "Third clinic"
        with self.assertWrites(
            *(
                ("location", place.id)
                for place in locations.search([("warehouse_id", "=", warehouse.id)])
            )
        ):
            self.env.cr.execute(
                "UPDATE stock_warehouse SET name = 'Night pharmacy' WHERE id = %s", (warehouse.id,)
            )
        values = self.shown("location", warehouse.lot_stock_id.id)["values"]
        self.assertEqual(
            (values["company"], values["warehouse"]), ("Third clinic", "Night pharmacy")
        )
        self.assertEqual((values["company_id"], values["warehouse_id"]), (company.id, warehouse.id))

    def dispense(self, quantity=2, unit=None):
        move = self.env["stock.move"].create(
            {
                "product_id": self.product.id,
                "product_uom": (unit or self.product.uom_id).id,
                "product_uom_qty": quantity,
                "location_id": self.shelf.id,
                "location_dest_id": self.customers.id,
                "origin": "RX-1",
            }
        )
        move._action_confirm()
        move._action_assign()
        move.picked = True
        move._action_done()
        return move

    def test_a_movement_is_shown_once_it_is_done(self):
        move = self.env["stock.move"].create(
            {
                "product_id": self.product.id,
                "product_uom": self.product.uom_id.id,
                "product_uom_qty": 2,
                "location_id": self.shelf.id,
                "location_dest_id": self.customers.id,
            }
        )
        move._action_confirm()
        with self.assertWrites(("stock_level", self.level)):  # reserved
            move._action_assign()
        move.picked = True
        before = self.last_row()
        move._action_done()
        written = self.rows_after(before)
        self.assertIn(("movement", move.move_line_ids.id), written)
        values = self.shown("movement", move.move_line_ids.id)["values"]
        self.assertEqual(values["quantity"], "2.00")
        self.assertEqual(
            (values["from_location_id"], values["to_location_id"]),
            (self.shelf.id, self.customers.id),
        )
        self.assertEqual((values["lot_id"], values["is_inventory"]), (self.lot.id, False))
        self.assertEqual(values["user"], self.env.user.login)

    def test_a_movement_is_counted_in_the_product_s_own_unit(self):
        box = self.env["uom.uom"].create(
            {
                "name": "Box of 6",
                "relative_factor": 6,
                "relative_uom_id": self.product.uom_id.id,
            }
        )
        move = self.dispense(2, box)
        self.assertEqual(
            self.shown("movement", move.move_line_ids.id)["values"]["quantity"], "12.00"
        )

    def test_a_done_line_that_is_corrected_or_deleted_is_seen(self):
        line = self.dispense().move_line_ids
        with self.assertWrites(("movement", line.id)):
            self.env.cr.execute(
                "UPDATE stock_move_line SET quantity_product_uom = 1 WHERE id = %s", (line.id,)
            )
        with self.assertWrites(("movement", line.id)):
            self.env.cr.execute(
                "UPDATE stock_move_line SET state = 'cancel' WHERE id = %s", (line.id,)
            )
        self.assertEqual(self.shown("movement", line.id)["op"], "delete")
        with self.assertWrites(("movement", line.id)):
            self.env.cr.execute(
                "UPDATE stock_move_line SET state = 'done' WHERE id = %s", (line.id,)
            )
        with self.assertWrites(("movement", line.id)):
            self.env.cr.execute("DELETE FROM stock_move_line WHERE id = %s", (line.id,))

    def test_what_a_done_movement_shows_of_its_move_is_seen(self):
        move = self.dispense()
        with self.assertWrites(("movement", move.move_line_ids.id)):
            self.env.cr.execute("UPDATE stock_move SET origin = 'RX-2' WHERE id = %s", (move.id,))
        self.assertEqual(self.shown("movement", move.move_line_ids.id)["values"]["origin"], "RX-2")
        with self.assertWrites():
            self.env.cr.execute("UPDATE stock_move SET priority = '1' WHERE id = %s", (move.id,))

    def test_a_count_is_an_inventory_movement(self):
        quant = self.quants.with_context(inventory_mode=True)
        quant.inventory_quantity = 10
        before = self.last_row()
        quant.action_apply_inventory()
        ids = {key for entity, key in self.rows_after(before) if entity == "movement"}
        self.assertEqual(len(ids), 1)
        values = self.shown("movement", ids.pop())["values"]
        self.assertEqual((values["is_inventory"], values["quantity"]), (True, "2.50"))
