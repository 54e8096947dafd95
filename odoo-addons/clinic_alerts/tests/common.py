from odoo.tests import TransactionCase, new_test_user, tagged

ADMINISTRATORS = "clinic_backups.group_platform_administrator"


@tagged("post_install", "-at_install")
class AlertCase(TransactionCase):
    """Two administrators, somebody else, and the account that tells."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        group = cls.env.ref(ADMINISTRATORS)
        for user in group.all_user_ids - cls.env.ref("base.user_root"):
            user.active = user == cls.env.ref("base.user_admin")
        cls.admin = cls.env.ref("base.user_admin")
        cls.ana = new_test_user(cls.env, "ana", groups=f"base.group_user,{ADMINISTRATORS}")
        cls.clerk = new_test_user(cls.env, "clerk", groups="base.group_user")
        cls.service = cls.env.ref("clinic_alerts.user_alerts")

    def notify(self, kind="opened", outage="o1", **values):
        return (
            self.env["clinic.alert"]
            .with_user(self.service)
            .notify(
                **{
                    "outage_id": outage,
                    "kind": kind,
                    "severity": "warning",
                    "summary": "Odoo no responde",
                    "text": "Desde: 12:00\n<b>1 & 2</b>",
                    "link": "https://airflow.example/dags/x",
                    **values,
                }
            )
        )

    def activities(self, outage="o1"):
        return self.env["mail.activity"].search([("clinic_outage", "=", outage)])
