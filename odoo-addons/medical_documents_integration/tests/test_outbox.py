from unittest.mock import patch

from odoo.exceptions import AccessError
from odoo.tests import tagged

from ..publisher.broker import Broker
from .common import PDF, DocumentCase


@tagged("post_install", "-at_install")
class TestOutbox(DocumentCase):
    def test_posting_an_invoice_writes_one_row_and_does_nothing_else(self):
        move = self.invoice()
        triggers = self.env["ir.cron.trigger"].search_count([("cron_id", "=", self.cron.id)])
        with (
            patch.object(Broker, "publish", side_effect=AssertionError("the network")),
            patch.object(
                type(self.env["ir.actions.report"]),
                "_pre_render_qweb_pdf",
                side_effect=AssertionError("a report"),
            ),
        ):
            move.action_post()
        document = self.of(move)
        self.assertEqual(len(document), 1)
        self.assertEqual(
            (document.state, document.revision, document.number, document.document_type),
            ("pending", 1, move.name, "invoice"),
        )
        self.assertEqual(document.user_id, self.clerk)
        self.assertFalse(document.patient_id)
        self.assertEqual(
            self.env["ir.cron.trigger"].search_count([("cron_id", "=", self.cron.id)]), triggers + 1
        )

    def test_a_credit_note_is_a_document_and_a_bill_is_none(self):
        self.assertEqual(len(self.of(self.posted(move_type="out_refund"))), 1)
        bill = self.invoice(move_type="in_invoice")
        bill.action_post()
        self.assertEqual(bill.state, "posted")
        self.assertFalse(self.of(bill))

    def test_ten_invoices_posted_at_once_make_ten_documents(self):
        moves = self.env["account.move"].browse()
        for _number in range(10):
            moves |= self.invoice()
        moves.action_post()
        self.assertEqual(sorted(self.of(moves).mapped("res_id")), sorted(moves.ids))

    def test_a_rollback_leaves_no_document(self):
        before = self.documents.search_count([])
        move = self.invoice()
        with self.assertRaises(ZeroDivisionError), self.env.cr.savepoint():
            move.action_post()
            self.assertEqual(self.documents.search_count([]), before + 1)
            raise ZeroDivisionError
        self.env.invalidate_all()
        self.assertEqual(self.documents.search_count([]), before)

    def test_nobody_else_sees_the_document_before_the_posting_is_committed(self):
        move = self.posted()
        self.env.flush_all()
        with self.registry.cursor() as cr:
            cr.execute(
                "SELECT 1 FROM clinic_document WHERE document_id = %s", (self.of(move).document_id,)
            )
            self.assertFalse(cr.fetchall())

    def test_the_patient_is_named_by_their_id(self):
        self.assertEqual(self.of(self.posted(self.patient)).patient_id, self.patient)

    def test_posting_again_what_was_rendered_makes_the_next_revision_of_the_same_document(self):
        move = self.posted()
        first = self.rendered(move)
        move.button_draft()
        move.action_post()
        documents = self.of(move)
        self.assertEqual(documents.mapped("revision"), [1, 2])
        self.assertEqual(set(documents.mapped("document_id")), {first.document_id})
        self.assertEqual(documents.mapped("state"), ["published", "pending"])
        self.assertEqual(first.attachment_id.raw, PDF)

    def test_posting_again_what_nobody_has_seen_takes_the_same_revision(self):
        move = self.posted()
        move.button_draft()
        move.action_post()
        self.assertEqual(self.of(move).mapped("revision"), [1])

    def test_signing_a_record_writes_one_row_without_clinical_content(self):
        record = self.signed()
        document = self.of(record)
        self.assertEqual(len(document), 1)
        self.assertEqual((document.document_type, document.state), ("medical_record", "pending"))
        self.assertEqual(document.patient_id, self.patient)
        document._fix(PDF)
        self.assertNotIn("Ana", str(document._message()))
        self.assertNotIn("Healthy", str(document._message()))

    def test_an_amended_record_is_the_next_revision_of_the_same_document(self):
        record = self.signed()
        amended = record.amend("A wrong dose")
        amended.action_sign()
        first, second = self.of(record), self.of(amended)
        self.assertEqual((first.revision, second.revision), (1, 2))
        self.assertEqual(first.document_id, second.document_id)
        with patch.object(type(record), "_render_document", return_value=PDF):
            self.assertEqual([first._render(), second._render()], [PDF, PDF])

    def test_a_manager_sends_one_or_many_again_with_the_same_revision(self):
        documents = self.rendered(self.posted()) | self.rendered(self.posted())
        documents.write({"state": "parked", "reason": "gave_up", "attempts": 3})
        documents.with_user(self.manager).action_send_again()
        self.assertEqual(set(documents.mapped("state")), {"pending"})
        self.assertEqual(set(documents.mapped("revision")), {1})
        self.assertEqual(documents.mapped("error"), [False, False])
        self.assertEqual(documents[0].attachment_id.raw, PDF)
        with self.assertRaises(AccessError):
            documents.with_user(self.clerk).action_send_again()
