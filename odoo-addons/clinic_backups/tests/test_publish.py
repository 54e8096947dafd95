import json
from datetime import timedelta
from unittest.mock import patch

from odoo import fields
from odoo.addons.clinic_broker.broker import Broker, BrokerError
from odoo.exceptions import UserError
from odoo.tests import tagged

from .common import BackupCase


@tagged("post_install", "-at_install")
class TestPublish(BackupCase):
    """Only what a real broker does not do on demand; the rest is tested with a real one."""

    def setUp(self):
        super().setUp()
        self.sent = []
        self.refusal = None

        def publish(_broker, key, body, properties):
            if self.refusal:
                raise BrokerError("unreachable", self.refusal)
            self.sent.append((key, json.loads(body), properties))

        patcher = patch.object(Broker, "publish", publish)
        patcher.start()
        self.addCleanup(patcher.stop)

    def run_cron(self):
        with self.enter_registry_test_mode(), self.registry.cursor() as cr:
            self.env(cr=cr)["clinic.backup"]._cron_publish()
        self.env.invalidate_all()

    def test_the_message_and_what_is_written_down(self):
        backup = self.ask(note="antes de la migración")
        self.run_cron()
        ((key, body, properties),) = self.sent
        self.assertEqual(key, "backup.requested")
        self.assertEqual(
            body,
            {
                "request_id": backup.request_id,
                "kind": "full",
                "note": "antes de la migración",
                "requested_by": "backups_platform",
            },
        )
        self.assertEqual(properties["message_id"], backup.request_id)
        self.assertEqual(properties["delivery_mode"], 2)
        self.assertEqual(backup.state, "published")
        self.run_cron()
        self.assertEqual(len(self.sent), 1)

    def test_a_broker_that_is_down_keeps_the_request_waiting_and_says_so(self):
        self.refusal = "connection refused"
        backup = self.ask()
        self.run_cron()
        self.assertEqual((backup.state, backup.attempts), ("requested", 1))
        self.assertGreater(backup.next_attempt_at, fields.Datetime.now())
        self.assertIn("RabbitMQ does not answer", backup.explanation)
        self.assertIn("connection refused", backup.error)
        self.refusal = None
        self.run_cron()
        self.assertFalse(self.sent)  # not before it is due
        backup.next_attempt_at = fields.Datetime.now() - timedelta(seconds=1)
        self.run_cron()
        self.assertEqual(backup.state, "published")
        self.assertFalse(backup.explanation)
        self.assertFalse(backup.error)

    def test_a_request_that_nobody_answers_says_where_to_look(self):
        backup = self.ask()
        self.run_cron()
        self.assertFalse(backup.explanation)
        backup.published_at = fields.Datetime.now() - timedelta(minutes=16)
        self.assertIn("backup_odoo", backup.explanation)


@tagged("post_install", "-at_install")
class TestCopy(BackupCase):
    def setUp(self):
        super().setUp()
        self.env["ir.config_parameter"].set_param("database.is_neutralized", True)

    def test_nobody_asks_for_a_backup_of_a_copy(self):
        with self.assertRaisesRegex(UserError, "is a copy"):
            self.ask()

    def test_no_message_leaves_a_copy(self):
        with (
            patch.dict("os.environ", {"CLINIC_AMQP_URL": "amqp://127.0.0.1:1"}),
            self.assertRaises(BrokerError) as caught,
        ):
            Broker(self.env, "backups_exchange", "test").publish("backup.requested", b"{}", {})
        self.assertEqual(caught.exception.problem, "copy")
