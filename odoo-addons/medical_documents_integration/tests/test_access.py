from odoo.exceptions import AccessError
from odoo.tests import tagged

from .common import DocumentCase


@tagged("post_install", "-at_install")
class TestAccess(DocumentCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.invoice_document = cls.rendered(cls.posted())
        cls.record_document = cls.rendered(cls.signed())
        cls.both = cls.invoice_document | cls.record_document

    def seen(self, user):
        return self.documents.with_user(user).search([("id", "in", self.both.ids)]).sudo()

    def test_who_sees_which_documents(self):
        self.assertEqual(self.seen(self.clerk), self.invoice_document)
        self.assertEqual(self.seen(self.doctor), self.record_document)
        self.assertEqual(self.seen(self.manager), self.both)
        self.assertEqual(self.seen(self.service), self.both)
        with self.assertRaises(AccessError):
            self.seen(self.nobody)

    def test_notifications_follow_their_documents(self):
        self.documents.with_user(self.service).notify([self.told(one) for one in self.both])
        notifications = self.env["clinic.document.notification"]
        for user, documents in (
            (self.clerk, self.invoice_document),
            (self.doctor, self.record_document),
            (self.manager, self.both),
        ):
            with self.subTest(user=user.login):
                seen = notifications.with_user(user).search([("document_id", "in", self.both.ids)])
                self.assertEqual(seen.sudo().document_id, documents)

    def test_whoever_manages_documents_may_log_in_to_see_them(self):
        group = self.env.ref("medical_documents_integration.group_manager")
        self.assertIn(self.env.ref("base.group_user"), group.all_implied_ids)

    def test_the_pdf_is_opened_by_a_button(self):
        action = self.invoice_document.with_user(self.clerk).action_open_pdf()
        self.assertEqual(action["url"], f"/clinic/documents/{self.invoice_document.id}/view")

    def test_nobody_writes_documents_by_hand(self):
        for user in (self.clerk, self.doctor, self.manager, self.service):
            document = self.both.with_user(user)
            with self.subTest(user=user.login):
                with self.assertRaises(AccessError):
                    document.write({"state": "stored"})
                with self.assertRaises(AccessError):
                    document.unlink()

    def test_files_are_not_handed_out_as_attachments(self):
        for user in (self.clerk, self.manager, self.service):
            with self.subTest(user=user.login), self.assertRaises(AccessError):
                self.record_document.attachment_id.with_user(user).read(["raw"])

    def test_the_service_account_reads_nothing_else_and_changes_nothing(self):
        for model in ("res.partner", "account.move", "clinic.medical.record", "res.users"):
            with self.subTest(model=model), self.assertRaises(AccessError):
                self.env[model].with_user(self.service).search([])
        with self.assertRaises(AccessError):
            self.partner.with_user(self.service).write({"name": "Changed"})

    def test_the_service_account_is_in_new_companies(self):
        company = self.env["res.company"].create({"name": "Second clinic"})
        self.assertIn(company, self.service.company_ids)
