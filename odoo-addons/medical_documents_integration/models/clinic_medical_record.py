"""Signed medical records become documents."""

from odoo import models

from .clinic_document_source import NotNowError


class ClinicMedicalRecord(models.Model):
    """A medical record that is stored as a document once it is signed."""

    _name = "clinic.medical.record"
    _inherit = ("clinic.medical.record", "clinic.document.source")

    def action_sign(self):
        """Sign, and put the records into the outbox."""
        done = super().action_sign()
        self._make_documents()
        return done

    def _document_values(self):
        kinds = dict(self._fields["kind"]._description_selection(self.env))
        return {
            "document_type": "medical_record",
            "number": self.number,
            # What kind it is, never what it says.
            "title": self.env._("%(kind)s %(number)s", kind=kinds[self.kind], number=self.number),
            "date": self.date,
            "company_id": self.company_id.id,
            "patient_id": self.patient_id.id,
        }

    def _document_predecessors(self):
        return self.previous_id

    def _render_document(self):
        self.ensure_one()
        if self.state == "draft":
            raise NotNowError("not_final", f"{self.number} is not signed")
        content, _kind = self.env["ir.actions.report"]._render_qweb_pdf(
            "clinic_records.report_medical_record", self.ids
        )
        return content
