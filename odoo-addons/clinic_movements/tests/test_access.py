from odoo.exceptions import AccessError

from .common import MovementCase


class TestAccess(MovementCase):
    def test_nobody_but_the_service_account_books(self):
        for user in (self.manager, self.clerk, self.env.ref("base.user_admin")):
            with self.assertRaises(AccessError):
                self.ask(user=user)

    def test_the_service_account_reads_and_writes_nothing(self):
        for model in ("clinic.movement.request", "stock.quant", "stock.move", "res.partner"):
            for mode in ("read", "write", "create", "unlink"):
                allowed = self.env[model].with_user(self.service).has_access(mode)
                self.assertFalse(allowed, (model, mode))

    def test_stock_managers_see_requests_and_change_none(self):
        answer = self.ask()
        request = self.moves_of(answer).clinic_request_id.with_user(self.manager)
        self.assertEqual(request.read(["person", "state"])[0]["person"], "ana")
        for mode in ("write", "create", "unlink"):
            self.assertFalse(request.has_access(mode))
        self.assertFalse(request.with_user(self.clerk).has_access("read"))
