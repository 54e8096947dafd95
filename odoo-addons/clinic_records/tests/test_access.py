from odoo import Command
from odoo.exceptions import AccessError
from odoo.tests import tagged

from .common import ClinicCase


@tagged("post_install", "-at_install")
class TestAccess(ClinicCase):
    def test_admissions_see_patients_but_no_record(self):
        self.signed()
        patient = self.patient.with_user(self.clerk)
        patient.write({"birth_date": "1980-01-01", "sex": "female"})
        self.assertTrue(patient.age)
        with self.assertRaises(AccessError):
            self.records.with_user(self.clerk).search([])
        with self.assertRaises(AccessError):
            patient.read(["medical_record_ids"])

    def test_others_see_nothing_clinical(self):
        patient = self.patient.with_user(self.nobody)
        for name in ("birth_date", "sex", "identity_number", "medical_record_count"):
            with self.assertRaises(AccessError, msg=name):
                patient.read([name])
        with self.assertRaises(AccessError):
            self.records.with_user(self.nobody).search([])

    def test_readers_only_read(self):
        record = self.draft().with_user(self.reader)
        self.assertEqual(record.note, "<p>Healthy</p>")
        for call in (lambda: record.write({"note": "x"}), record.unlink):
            with self.assertRaises(AccessError):
                call()
        with self.assertRaises(AccessError):
            self.records.with_user(self.reader).create({"patient_id": self.patient.id})

    def test_a_file_is_read_by_those_who_read_the_record(self):
        file = self.upload()
        self.signed(attachment_ids=[Command.set(file.ids)])
        self.assertEqual(file.with_user(self.reader).raw, b"bone")
        with self.assertRaises(AccessError):
            file.with_user(self.clerk).read(["raw"])

    def test_records_of_another_company_are_not_seen(self):
        other = self.env["res.company"].create({"name": "Other clinic"})
        self.doctor.company_ids = [Command.link(other.id)]
        record = self.signed(company_id=other.id)
        self.assertFalse(self.records.with_user(self.reader).search([("id", "=", record.id)]))
        with self.assertRaises(AccessError):
            record.with_user(self.reader).read(["note"])

    def test_a_doctor_is_no_clerk_and_a_manager_no_doctor(self):
        self.assertFalse(self.doctor.has_group("clinic_records.group_clerk"))
        self.assertFalse(self.manager.has_group("clinic_records.group_doctor"))
