from odoo import Command
from odoo.tests import tagged

from .common import ClinicCase

REPORT = "clinic_records.report_medical_record"


@tagged("post_install", "-at_install")
class TestReport(ClinicCase):
    def html(self, records):
        html, _kind = (
            self.env["ir.actions.report"]
            .with_user(self.reader)
            ._render_qweb_html(REPORT, records.ids)
        )
        return html.decode()

    def test_it_shows_the_patient_the_note_and_the_signature(self):
        self.patient.write({"identity_type": "dni", "identity_number": "12345678Z"})
        record = self.signed(subject="Check-up", attachment_ids=[Command.set(self.upload().ids)])
        html = self.html(record)
        for text in (
            self.patient.name,
            self.patient.patient_number,
            "12345678Z",
            record.number,
            "Check-up",
            "<p>Healthy</p>",
            "scan.txt",
            "Signed on",
            self.doctor.name,
            record.content_sha256,
            record.company_id.name,
        ):
            self.assertIn(text, html)
        self.assertNotIn("DRAFT", html)

    def test_a_draft_and_a_superseded_revision_say_so(self):
        record = self.signed()
        self.assertIn("DRAFT", self.html(self.draft()))
        new = record.amend("Wrong dose")
        new.action_sign()
        self.assertIn("SUPERSEDED", self.html(record))
        self.assertIn("Wrong dose", self.html(new))

    def test_the_signing_time_is_that_of_the_clinic_not_of_the_server(self):
        record = self.signed()
        record._set({"signed_at": "2026-01-15 08:30:00"})
        self.env.company.partner_id.tz = "Asia/Tokyo"
        self.assertIn("5:30:00", self.html(record))

    def test_it_is_in_the_patient_s_language(self):
        self.env["res.lang"]._activate_lang("es_ES")
        self.env["ir.module.module"].search([("name", "=", "clinic_records")])._update_translations(
            ["es_ES"], overwrite=True
        )
        self.patient.lang = "es_ES"
        html = self.html(self.signed())
        for text in ("Consulta", "Paciente", "Firmado el"):
            self.assertIn(text, html)
        self.assertNotIn("Signed on", html)
