from odoo import Command
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tests import tagged
from odoo.tools import mute_logger
from psycopg2.errors import ForeignKeyViolation

from .common import ClinicCase


@tagged("post_install", "-at_install")
class TestMedicalRecord(ClinicCase):
    def test_a_draft_is_numbered_and_changes_freely(self):
        record = self.draft()
        self.assertRegex(record.number, r"^HC/\d{4}/\d{5}$")
        record.write({"note": "<p>Ill</p>", "kind": "report"})
        self.assertEqual(record.note, "<p>Ill</p>")
        record.unlink()

    def test_the_note_is_sanitized(self):
        record = self.draft(note='<p onclick="x()">Hi<script>alert(1)</script></p>')
        self.assertNotIn("script", record.note)
        self.assertNotIn("onclick", record.note)

    def test_only_patients_have_records(self):
        contact = self.env["res.partner"].create({"name": "Supplier"})
        with self.assertRaises(ValidationError):
            self.draft(patient_id=contact.id)

    def test_signing_keeps_who_when_and_what(self):
        record = self.signed()
        self.assertEqual((record.state, record.signed_by_id), ("signed", self.doctor))
        self.assertTrue(record.signed_at)
        self.assertRegex(record.content_sha256, r"^[0-9a-f]{64}$")
        self.assertTrue(record.is_intact())

    def test_only_doctors_sign(self):
        record = self.draft()
        for user in (self.reader, self.manager, self.clerk, self.env.ref("base.user_admin")):
            with self.assertRaises(AccessError, msg=user.login):
                record.with_user(user).action_sign()
        with self.assertRaises(AccessError):
            record.sudo().with_user(self.env.ref("base.user_root")).action_sign()
        self.assertEqual(record.state, "draft")

    def test_an_empty_record_is_not_signed(self):
        with self.assertRaises(UserError):
            self.draft(note="<p><br></p>").action_sign()
        files = self.upload()
        self.draft(note=False, attachment_ids=[Command.set(files.ids)]).action_sign()

    def test_nobody_signs_by_writing(self):
        record = self.draft()
        for values in (
            {"state": "signed"},
            {"signed_by_id": self.doctor.id},
            {"content_sha256": "0"},
            {"number": "HC/1"},
            {"revision": 7},
        ):
            with self.assertRaises(UserError):
                record.sudo().write(values)
            with self.assertRaises(UserError):
                self.draft(**values)

    def test_the_context_gives_no_signature(self):
        record = (
            self.records.with_user(self.doctor)
            .with_context(
                default_state="signed",
                default_signed_by_id=self.doctor.id,
                default_signed_at="2026-01-01 00:00:00",
                default_content_sha256="0",
            )
            .create({"patient_id": self.patient.id})
        )
        self.assertEqual(record.state, "draft")
        self.assertFalse(record.signed_by_id)

    def test_a_signed_record_is_changed_by_nobody(self):
        record = self.signed()
        for who in (record, record.with_user(self.manager), record.sudo()):
            for values in (
                {"note": "<p>Ill</p>"},
                {"patient_id": self.patient.copy().id},
                {"date": "2020-01-01"},
                {"attachment_ids": [Command.clear()]},
                {"state": "draft"},
            ):
                with self.assertRaises(UserError):
                    who.write(values)
            with self.assertRaises(UserError):
                who.unlink()
            with self.assertRaises(UserError):
                who.action_sign()
        self.assertEqual(record.note, "<p>Healthy</p>")

    def test_a_signed_record_can_be_discussed(self):
        record = self.signed()
        record.message_post(body="See the scan")
        record.message_subscribe(self.reader.partner_id.ids)

    def test_files_of_a_signed_record_stay(self):
        file = self.upload()
        record = self.signed(attachment_ids=[Command.set(file.ids)])
        for who in (file, file.sudo()):
            for values in (
                {"raw": b"other"},
                {"datas": "b3RoZXI="},
                {"name": "other.txt"},
                {"res_id": 0},
                {"public": True},
            ):
                with self.assertRaises(UserError):
                    who.write(values)
            with self.assertRaises(UserError):
                who.unlink()
        self.assertEqual(file.raw, b"bone")
        file.sudo().write({"raw": b"bone", "description": "moved to another disk"})
        self.assertTrue(record.is_intact())

    def test_files_of_a_draft_change(self):
        file = self.upload()
        record = self.draft(attachment_ids=[Command.set(file.ids)])
        self.assertEqual(file.res_id, record.id)
        file.raw = b"other"
        file.unlink()
        self.assertFalse(record.attachment_ids)

    def test_files_of_others_are_not_taken(self):
        foreign = self.env["ir.attachment"].create(
            {"name": "x", "raw": b"x", "res_model": "res.partner", "res_id": self.patient.id}
        )
        with self.assertRaises(UserError):
            self.draft(attachment_ids=[Command.set(foreign.ids)])

    def test_what_sql_changes_is_noticed(self):
        record = self.signed()
        self.env.cr.execute(
            "UPDATE clinic_medical_record SET note = '<p>Ill</p>' WHERE id = %s", (record.id,)
        )
        record.invalidate_recordset()
        self.assertFalse(record.is_intact())
        self.assertEqual(record.action_verify()["params"]["type"], "danger")

    def test_an_amendment_is_a_new_revision_of_the_same_number(self):
        file = self.upload()
        old = self.signed(attachment_ids=[Command.set(file.ids)])
        new = old.amend(" Wrong dose ")
        self.assertEqual((new.number, new.revision, new.state), (old.number, 2, "draft"))
        self.assertEqual((new.previous_id, new.amendment_reason), (old, "Wrong dose"))
        self.assertEqual(new.note, old.note)
        self.assertEqual(new.attachment_ids.mapped("raw"), [b"bone"])
        self.assertNotEqual(new.attachment_ids, file)
        self.assertEqual(old.state, "signed", "in force until the new one is signed")
        new.note = "<p>Half the dose</p>"
        new.action_sign()
        self.assertEqual((old.state, new.state), ("amended", "signed"))
        self.assertEqual(old.note, "<p>Healthy</p>")
        self.assertTrue((old | new).is_intact())
        with self.assertRaises(UserError):
            old.amend("again")
        self.assertEqual(new.amend("third").revision, 3)

    def test_one_amendment_at_a_time(self):
        old = self.signed()
        new = old.amend("Wrong dose")
        with self.assertRaises(UserError):
            old.amend("Wrong day")
        new.unlink()
        self.assertTrue(old.amend("Wrong day"))

    def test_an_amendment_needs_a_doctor_and_a_reason_and_a_signed_record(self):
        old = self.signed()
        with self.assertRaises(UserError):
            old.amend("  ")
        with self.assertRaises(AccessError):
            old.with_user(self.manager).amend("Wrong dose")
        with self.assertRaises(UserError):
            self.draft().amend("Wrong dose")

    def test_the_wizard_opens_the_new_revision(self):
        old = self.signed()
        action = old.action_amend()
        wizard = (
            self.env[action["res_model"]]
            .with_user(self.doctor)
            .with_context(**action["context"])
            .create({"reason": "Wrong dose"})
        )
        self.assertEqual(wizard.action_amend()["res_id"], old.next_ids.id)

    def test_a_patient_with_records_is_not_deleted(self):
        self.draft()
        with self.assertRaises(ForeignKeyViolation), mute_logger("odoo.sql_db"):
            self.patient.unlink()

    def test_a_discussion_is_in_the_clinic_s_language_whoever_writes(self):
        self.env["res.lang"]._activate_lang("es_ES")
        modules = self.env["ir.module.module"].search([("name", "in", ("mail", "clinic_records"))])
        modules._update_translations(["es_ES"], overwrite=True)
        self.env.company.partner_id.lang = "es_ES"
        record = self.draft()
        self.env.cr.precommit.run()
        self.assertIn("Registro clínico", record.sudo().message_ids.body)
        record.kind = "report"
        self.env.cr.precommit.run()
        tracked = record.sudo().message_ids.tracking_value_ids
        self.assertEqual((tracked.old_value_char, tracked.new_value_char), ("Consulta", "Informe"))
