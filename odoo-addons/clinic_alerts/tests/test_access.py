from odoo.exceptions import AccessError

from .common import AlertCase


class TestAccess(AlertCase):
    def test_nobody_but_the_service_account_tells(self):
        for user in (self.admin, self.ana, self.clerk):
            with self.assertRaises(AccessError):
                self.env["clinic.alert"].with_user(user).notify(
                    "o1", "opened", "warning", "Odoo", "text"
                )

    def test_the_service_account_reads_and_writes_nothing(self):
        self.notify()
        for model in ("mail.activity", "res.partner", "res.users", "clinic.backup"):
            for mode in ("read", "write", "create", "unlink"):
                allowed = self.env[model].with_user(self.service).has_access(mode)
                self.assertFalse(allowed, (model, mode))

    def test_an_administrator_sees_their_own_activity(self):
        self.notify()
        mine = self.env["mail.activity"].with_user(self.ana).search([("user_id", "=", self.ana.id)])
        self.assertEqual(mine.mapped("summary"), ["Odoo no responde"])

    def test_others_see_none(self):
        self.notify()
        activities = self.env["mail.activity"].with_user(self.clerk)
        self.assertFalse(activities.search([("summary", "=", "Odoo no responde")]))
