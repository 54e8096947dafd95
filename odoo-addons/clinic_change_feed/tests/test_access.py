import json

from odoo import Command
from odoo.exceptions import AccessError
from odoo.tests import HttpCase, new_test_user, tagged
from odoo.tools import mute_logger

from ..feed.access import find_key, valid_keys


@tagged("post_install", "-at_install")
class TestAccess(HttpCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.group = cls.env.ref("clinic_change_feed.group_reader")
        cls.service = cls.env.ref("clinic_change_feed.group_service")
        cls.reader = cls.env.ref("clinic_change_feed.user_feed")
        cls.env["res.lang"]._activate_lang("en_US")
        cls.reader.lang = "en_US"  # the tests read messages
        cls.other = new_test_user(
            cls.env, "other_user", "base.group_user,stock.group_stock_manager"
        )

    def key(self, user):
        return self.env["res.users.apikeys"].with_user(user).sudo()._generate("rpc", "test", None)

    def call(self, key, method, **params):
        return self.url_open(
            f"/json/2/clinic.change/{method}",
            data=json.dumps(params),
            headers={"Authorization": f"bearer {key}", "Content-Type": "application/json"},
        )

    def test_the_reader_is_least_privileged(self):
        self.assertTrue(self.reader.has_group("clinic_change_feed.group_reader"))
        self.assertTrue(self.reader._is_internal())
        self.assertFalse(self.reader.has_group("stock.group_stock_user"))
        self.assertFalse(self.reader.has_group("base.group_system"))
        env = self.env(user=self.reader)
        for model in (
            "stock.quant",
            "product.product",
            "product.template",
            "product.category",
            "uom.uom",
            "stock.lot",
            "stock.location",
            "stock.warehouse",
            "stock.warehouse.orderpoint",
            "stock.move",
            "stock.move.line",
            "clinic.change",
        ):
            env[model].check_access("read")
            for operation in ("write", "create", "unlink"):
                with self.assertRaises(AccessError, msg=f"{operation} {model}"):
                    env[model].check_access(operation)
        for operation in ("write", "create", "unlink"):
            self.assertFalse(env["ir.model.access"]._get_allowed_models(operation), operation)
            # People in the reader's group keep what their other groups give them.
            self.assertIn(
                "stock.move.line",
                self.env(user=self.env.ref("base.user_admin"))[
                    "ir.model.access"
                ]._get_allowed_models(operation),
            )

    def test_the_reader_has_no_password(self):
        self.env.cr.execute("SELECT password FROM res_users WHERE id = %s", (self.reader.id,))
        self.assertFalse(self.env.cr.fetchone()[0])

    def test_the_administrator_reads_too(self):
        self.assertTrue(
            self.env.ref("base.user_admin").has_group("clinic_change_feed.group_reader")
        )

    def test_the_reader_is_in_every_company_also_in_new_ones(self):
        company = self.env["res.company"].create({"name": "New clinic"})
        self.assertIn(company, self.reader.company_ids)
        self.assertEqual(self.reader.company_ids, self.env["res.company"].search([]))

    def test_json2_answers_the_reader(self):
        key = self.key(self.reader)
        page = self.call(key, "feed").json()
        self.assertEqual((page["reset"], page["reason"]), (True, "first"))
        answer = self.call(key, "feed", cursor=page["cursor"], limit=10)
        self.assertEqual((answer.status_code, answer.json()["reset"]), (200, False))
        answer = self.call(key, "state", entity="location", after=None, limit=2)
        self.assertEqual((answer.status_code, len(answer.json()["changes"])), (200, 2))

    @mute_logger("odoo.http")
    def test_json2_refuses_clearly(self):
        key = self.key(self.reader)
        answer = self.call(key, "feed", cursor="garbage")
        self.assertEqual(answer.status_code, 422)
        self.assertIn("cursor cannot be read", answer.json()["message"])
        self.assertEqual(self.call(key, "feed", limit=0).status_code, 422)
        self.assertEqual(self.call(key, "state", entity="nothing").status_code, 422)
        self.assertEqual(self.call("no such key", "feed").status_code, 401)

    @mute_logger("odoo.http", "odoo.addons.base.models.ir_model")
    def test_nobody_else_reads_the_feed(self):
        key = self.key(self.other)
        for method, params in (
            ("feed", {}),
            ("state", {"entity": "lot"}),
            ("search_read", {"domain": []}),
        ):
            self.assertEqual(self.call(key, method, **params).status_code, 403, method)
        answer = self.url_open("/clinic/changes/stream", headers={"Authorization": f"bearer {key}"})
        self.assertEqual(answer.status_code, 403)
        self.assertIn("not a reader", answer.json()["error"])

    @mute_logger("odoo.http")
    def test_the_stream_refuses_clearly(self):
        bearer = {"Authorization": f"bearer {self.key(self.reader)}"}
        self.assertEqual(self.url_open("/clinic/changes/stream").status_code, 401)
        for query, message in (
            ("cursor=garbage", "cursor cannot be read"),
            ("cursor=%00%ff", "cursor cannot be read"),
            ("limit=0", "`limit`"),
            ("limit=10001", "`limit`"),
            ("limit=ten", "`limit`"),
            ("limit=-5", "`limit`"),
            ("limit=²", "`limit`"),
        ):
            answer = self.url_open(f"/clinic/changes/stream?{query}", headers=bearer)
            self.assertEqual(answer.status_code, 400, query)
            self.assertIn(message, answer.json()["error"])

    def test_a_key_opens_the_feed_until_anything_of_it_is_gone(self):
        secret = self.key(self.reader)
        cr = self.env.cr
        key_id = find_key(cr, self.reader.id, secret)
        self.assertTrue(key_id)
        self.assertIsNone(find_key(cr, self.reader.id, secret[:-1] + "x"))
        self.assertIsNone(find_key(cr, self.other.id, secret))

        def valid():
            self.env.flush_all()
            return valid_keys(cr, {key_id, 0}, self.group.id) == {key_id}

        self.assertTrue(valid())
        for change, undo in (
            (
                lambda: self.reader.write({"active": False}),
                lambda: self.reader.write({"active": True}),
            ),
            (
                lambda: self.reader.write({"group_ids": [Command.unlink(self.service.id)]}),
                lambda: self.reader.write({"group_ids": [Command.link(self.service.id)]}),
            ),
            (
                lambda: cr.execute(
                    "UPDATE res_users_apikeys SET expiration_date = now() - interval '1 day'"
                ),
                lambda: cr.execute("UPDATE res_users_apikeys SET expiration_date = NULL"),
            ),
        ):
            change()
            self.assertFalse(valid())
            undo()
            self.assertTrue(valid())
        cr.execute("DELETE FROM res_users_apikeys WHERE id = %s", (key_id,))
        self.assertFalse(valid())

    def test_a_group_that_implies_the_reader_s_opens_the_feed(self):
        boss = self.env["res.groups"].create(
            {"name": "Boss", "implied_ids": [Command.link(self.group.id)]}
        )
        top = self.env["res.groups"].create({"name": "Top", "implied_ids": [Command.link(boss.id)]})
        secret = self.key(self.other)
        key_id = find_key(self.env.cr, self.other.id, secret)
        self.env.flush_all()
        self.assertFalse(valid_keys(self.env.cr, {key_id}, self.group.id))
        self.other.group_ids = [Command.link(top.id)]
        self.env.flush_all()
        self.assertTrue(self.other.has_group("clinic_change_feed.group_reader"))
        self.assertEqual(valid_keys(self.env.cr, {key_id}, self.group.id), {key_id})
