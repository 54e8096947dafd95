from datetime import timedelta

from odoo import fields
from odoo.exceptions import UserError
from odoo.tests import tagged

from .common import BackupCase


@tagged("post_install", "-at_install")
class TestAsk(BackupCase):
    def test_a_request_is_written_down_and_wakes_the_scheduler(self):
        before = self.env["ir.cron.trigger"].search_count([("cron_id", "=", self.cron.id)])
        backup = self.ask(kind="database", note="before the upgrade")
        self.assertEqual(
            (backup.state, backup.kind, backup.note, backup.requested_by, backup.database),
            ("requested", "database", "before the upgrade", "backups_platform", self.env.cr.dbname),
        )
        after = self.env["ir.cron.trigger"].search_count([("cron_id", "=", self.cron.id)])
        self.assertEqual(after, before + 1)

    def test_one_request_waits_at_a_time(self):
        backup = self.ask()
        for state in ("requested", "published"):
            backup.state = state
            with self.subTest(state=state), self.assertRaisesRegex(UserError, "backups_platform"):
                self.ask(self.administrator)
        backup.state = "running"
        self.assertNotEqual(self.ask(), backup)

    def test_a_request_that_nobody_answered_keeps_others_off_for_some_hours_only(self):
        backup = self.ask()
        backup.write({"state": "published", "moment": fields.Datetime.now() - timedelta(hours=7)})
        self.assertNotEqual(self.ask(), backup)

    def test_spanish_is_what_spaniards_read(self):
        self.speak_spanish(self.platform)
        backup = self.ask().with_user(self.platform).with_context(lang="es_ES")
        self.assertEqual(backup.display_name, "Petición: base de datos y archivos")
        states = dict(backup._fields["state"]._description_selection(backup.env))
        self.assertEqual(states["stored"], "Guardada")
        view = backup.get_view(view_type="list")["arch"]
        self.assertIn("Copiar ahora", view)
        with self.assertRaisesRegex(UserError, "Ya se pidió una copia"):
            self.backups.with_user(self.platform).with_context(lang="es_ES")._ask("full", "")
