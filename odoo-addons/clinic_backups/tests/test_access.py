from odoo.exceptions import AccessError
from odoo.tests import tagged

from .common import BackupCase


@tagged("post_install", "-at_install")
class TestAccess(BackupCase):
    def test_administrators_see_backups_and_ask_for_one(self):
        for user in (self.administrator, self.platform):
            with self.subTest(user=user.login):
                self.backups.search([]).unlink()
                backup = self.ask(user)
                self.assertEqual(self.backups.with_user(user).search([]), backup)
                self.assertEqual(backup.user_id, user)

    def test_nobody_else_does(self):
        self.ask()
        menu = self.env.ref("clinic_backups.menu_clinic_backup")
        for user in (self.clerk, self.service, self.env.ref("base.public_user")):
            with self.subTest(user=user.login):
                with self.assertRaises(AccessError):
                    self.backups.with_user(user).search([])
                with self.assertRaises(AccessError):
                    self.ask(user)
                with self.assertRaises(AccessError):
                    self.backups.with_user(user)._ask("full", "")
                self.assertFalse(menu.group_ids & user.all_group_ids)
        self.assertEqual(len(self.backups.search([])), 1)

    def test_nobody_writes_backups_by_hand(self):
        backup = self.ask()
        for user in (self.administrator, self.platform, self.service):
            with self.subTest(user=user.login):
                with self.assertRaises(AccessError):
                    backup.with_user(user).write({"state": "stored"})
                with self.assertRaises(AccessError):
                    backup.with_user(user).unlink()
                with self.assertRaises(AccessError):
                    self.backups.with_user(user).create({"kind": "full", "moment": "2026-01-01"})

    def test_the_service_account_alone_reports(self):
        self.assertEqual(self.report(self.told())[0]["status"], "applied")
        for user in (self.administrator, self.platform, self.clerk):
            with self.subTest(user=user.login), self.assertRaises(AccessError):
                self.report(self.told(), user=user)
        self.assertEqual(len(self.backups.search([])), 1)

    def test_the_service_account_reaches_no_model(self):
        for model in ("clinic.backup", "res.partner", "res.users", "clinic.backup.request"):
            with self.subTest(model=model), self.assertRaises(AccessError):
                self.env[model].with_user(self.service).search([])
