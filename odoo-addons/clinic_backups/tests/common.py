import uuid

from odoo.tests import TransactionCase, new_test_user


class BackupCase(TransactionCase):
    """Administrators, people who are none, and an empty list of backups."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env["res.lang"]._activate_lang("en_US")
        cls.env = cls.env(context={**cls.env.context, "lang": "en_US"})
        cls.backups = cls.env["clinic.backup"]
        cls.backups.search([]).unlink()
        cls.cron = cls.env.ref("clinic_backups.cron_publish")
        cls.service = cls.env.ref("clinic_backups.user_backups")
        cls.administrator = cls._user("admin", "base.group_system")
        cls.platform = cls._user("platform", "clinic_backups.group_platform_administrator")
        cls.clerk = cls._user("clerk", "base.group_erp_manager")

    @classmethod
    def _user(cls, login, *groups):
        return new_test_user(
            cls.env,
            f"backups_{login}",
            groups=",".join(["base.group_user", *groups]),
            lang="en_US",
        )

    def ask(self, user=None, kind="full", note=""):
        """Press the button; return the row that it shows."""
        request = self.env["clinic.backup.request"].with_user(user or self.platform)
        action = request.create({"kind": kind, "note": note}).action_ask()
        return self.backups.browse(action["res_id"])

    @classmethod
    def speak_spanish(cls, user):
        cls.env["res.lang"]._activate_lang("es_ES")
        module = cls.env["ir.module.module"].search([("name", "=", "clinic_backups")])
        module._update_translations(["es_ES"], overwrite=True)
        user.lang = "es_ES"

    def told(self, **more):
        """What Airflow's side reports about a stored backup."""
        return {
            "backup_id": str(uuid.uuid4()),
            "database": "odoo",
            "kind": "full",
            "state": "stored",
            "taken_at": "2026-11-24T02:00:00+01:00",
            "name": "odoo.full.20261124T010000Z.1a2b3c4d",
            "size_bytes": 5_234_567_890,
            "url": "https://drive.example/1",
            "note": "",
            "requested_by": "schedule",
            "verified_at": "2026-11-24T01:02:00+00:00",
            "updated_at": "2026-11-24T01:02:00.000001+00:00",
            **more,
        }

    def report(self, *reports, user=None):
        return self.backups.with_user(user or self.service).report(list(reports))

    def of(self, report):
        return self.backups.search([("backup_id", "=", report["backup_id"])])
