import json
from unittest.mock import patch

from odoo.exceptions import UserError
from odoo.tests import tagged

from ..models.clinic_document import MAX_RENDERINGS
from ..publisher.broker import Broker, BrokerError
from .common import PDF, DocumentCase


@tagged("post_install", "-at_install")
class TestPublisher(DocumentCase):
    """Only what a real broker does not do on demand; the rest is tested with a real one."""

    def setUp(self):
        super().setUp()
        self.documents.search([("state", "=", "pending")]).write({"state": "published"})
        self.sent = []
        self.refusal = None
        self.broken = self.env["account.move"]

        def publish(_broker, key, body, properties):
            if self.refusal:
                raise BrokerError("unreachable", self.refusal)
            self.sent.append((key, json.loads(body), properties))

        def render(move):
            if move.id in self.broken.ids:
                raise UserError("The template is broken")
            return PDF

        for target, name, function in (
            (Broker, "publish", publish),
            (type(self.env["account.move"]), "_render_document", render),
        ):
            patcher = patch.object(target, name, function)
            patcher.start()
            self.addCleanup(patcher.stop)

    def run_cron(self):
        with self.enter_registry_test_mode(), self.registry.cursor() as cr:
            self.env(cr=cr)["clinic.document"]._cron_publish()

    def due_now(self, document):
        document.next_attempt_at = False

    def test_the_message_and_what_is_written_down(self):
        move = self.posted(self.patient)
        self.run_cron()
        document = self.of(move)
        ((key, body, properties),) = self.sent
        self.assertEqual(key, "invoice.created")
        self.assertEqual(body["patient_id"], self.patient.id)
        self.assertEqual(body["file_path"], f"/clinic/documents/{document.document_id}/1/content")
        self.assertEqual(body["metadata"]["size_bytes"], len(PDF))
        self.assertEqual(body["metadata"]["sha256"], document.sha256)
        self.assertEqual(properties["message_id"], f"{document.document_id}.1")
        self.assertEqual(properties["headers"]["x-attempt"], 1)
        self.assertEqual((document.state, document.error), ("published", False))
        self.run_cron()
        self.assertEqual(len(self.sent), 1)

    def test_page_and_message_tell_the_whole_path(self):
        document = self.of(self.posted())
        self.run_cron()
        document.with_user(self.manager).action_send_again()
        self.run_cron()
        (_, _, first), (_, _, second) = self.sent
        self.assertEqual(first["headers"]["x-made-by"], self.clerk.name)
        self.assertNotIn("x-sent-again-at", first["headers"])
        self.assertEqual(second["headers"]["x-sent-again-by"], self.manager.name)
        for name in ("x-made-at", "x-rendered-at", "x-sent-again-at"):
            self.assertRegex(second["headers"][name], r"^\d{4}-.*\+00:00$")
        happened = document.notification_ids.sorted("id")
        self.assertEqual(
            happened.mapped("event"), ["made", "rendered", "published", "sent_again", "published"]
        )
        self.assertEqual(happened[0].user_id, self.clerk)
        self.assertEqual(happened[3].user_id, self.manager)

    def test_a_broker_that_is_down_is_asked_once_a_run_and_shown_on_all(self):
        moves = self.posted() | self.posted()
        self.refusal = "No route"
        with patch.object(
            Broker, "publish", side_effect=BrokerError("unreachable", "No route")
        ) as publish:
            self.run_cron()
            self.assertEqual(publish.call_count, 1)
            self.run_cron()
            self.assertEqual(publish.call_count, 1, "not before the next attempt is due")
        documents = self.of(moves)
        self.assertEqual(documents.mapped("state"), ["pending", "pending"])
        self.assertEqual(documents.mapped("attempts"), [1, 1])
        self.assertTrue(all(documents.mapped("error")))
        self.assertTrue(all(documents.mapped("next_attempt_at")))
        self.refusal = None
        later = self.posted()
        self.run_cron()
        self.assertEqual(set(self.of(moves | later).mapped("state")), {"published"})
        self.assertEqual(len(self.sent), 3)

    def test_why_a_document_waits_is_said_to_clerks_and_to_technicians(self):
        self.speak_spanish(self.clerk.partner_id)
        document = self.of(self.posted())
        document._fix(PDF)
        refusal = BrokerError("unreachable", "No route to host")
        with (
            patch.object(Broker, "publish", side_effect=refusal),
            patch.object(self.env.cr, "commit"),
        ):
            document._publish(Broker(self.env))
        read = document.with_user(self.clerk).with_context(lang="es_ES")
        self.assertRegex(
            read.error,
            r"^Ahora no se puede enviar el documento al archivo de documentos\."
            r" Se volverá a intentar por sí solo a las \d+:\d\d\.$",
        )
        self.assertEqual(document.detail, "unreachable: No route to host")

    def test_a_report_that_fails_is_tried_a_bounded_number_of_times_while_others_go_on(self):
        bad, good = self.posted(), self.posted()
        self.broken = bad
        self.run_cron()
        document = self.of(bad)
        self.assertEqual(
            (document.state, document.reason, document.detail),
            ("pending", "not_rendered", "The template is broken"),
        )
        self.assertEqual(self.of(good).state, "published")
        for _attempt in range(1, MAX_RENDERINGS):
            self.due_now(document)
            self.run_cron()
        self.assertEqual((document.state, document.renderings), ("parked", MAX_RENDERINGS))
        self.assertIn("could not be stored", bad.message_ids[0].body)
        self.assertTrue(document.activity_ids.filtered(lambda a: a.user_id == self.manager))
        self.broken = self.broken.browse()
        document.action_send_again()
        self.run_cron()
        self.assertEqual(document.state, "published")

    def test_a_report_that_ends_its_process_each_time_is_parked_in_the_end(self):
        """Such a process notes no failure: it is gone."""
        document = self.of(self.posted())
        document.renderings = MAX_RENDERINGS
        self.run_cron()
        self.assertEqual((document.state, document.reason), ("parked", "not_rendered"))
        self.assertTrue(document.activity_ids.filtered(lambda a: a.user_id == self.manager))

    def test_what_a_manager_sends_again_is_the_same_bytes(self):
        move = self.posted()
        self.run_cron()
        self.of(move).action_send_again()
        self.broken = move  # would fail if it were rendered anew
        self.run_cron()
        first, second = (body for _key, body, _properties in self.sent)
        self.assertEqual(first, second)

    def test_a_message_that_readers_would_refuse_is_not_sent(self):
        document = self.of(self.posted())
        document.document_id = "no uuid"
        self.run_cron()
        self.assertEqual((document.state, self.sent), ("parked", []))
        self.assertIn("document_id", document.detail)

    def test_no_address_is_an_error_that_is_shown(self):
        with (
            patch.dict("os.environ", {"CLINIC_AMQP_URL": ""}),
            self.assertRaisesRegex(BrokerError, "CLINIC_AMQP_URL"),
        ):
            Broker(self.env)._connect()
