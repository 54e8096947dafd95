"""Posted invoices become documents."""

from odoo import models

from .clinic_document_source import NotNowError


class AccountMove(models.Model):
    """An invoice that is stored as a document once it is posted."""

    _name = "account.move"
    _inherit = ("account.move", "clinic.document.source")

    def _post(self, soft=True):
        """Post, and put what customers get into the outbox."""
        posted = super()._post(soft)
        posted.filtered(
            lambda move: move.move_type in ("out_invoice", "out_refund")
        )._make_documents()
        return posted

    def _document_values(self):
        patient = self.partner_id if self.partner_id.is_patient else self.commercial_partner_id
        return {
            "document_type": "invoice",
            "number": self.name,
            "title": self.env._("Credit note %s", self.name)
            if self.move_type == "out_refund"
            else self.env._("Invoice %s", self.name),
            "date": self.invoice_date or self.date,
            "company_id": self.company_id.id,
            "patient_id": patient.id if patient.is_patient else False,
        }

    def _render_document(self):
        """Return the legal PDF: Odoo's own, made and attached as its *Print & Send* does."""
        self.ensure_one()
        if self.state != "posted":
            raise NotNowError("not_final", f"{self.name} is not posted")
        if not self.invoice_pdf_report_id:
            sender = self.env["account.move.send"]
            settings = sender._get_default_sending_settings(self, sending_methods=[])
            data = {self: settings}
            was_sent = self.is_move_sent
            sender._generate_invoice_documents(data)
            if settings.get("error"):
                sender._hook_if_errors(data)
            self.is_move_sent = was_sent  # made, but nobody got it
        return self.invoice_pdf_report_id.raw
