from datetime import date

from freezegun import freeze_time
from odoo.exceptions import ValidationError
from odoo.tests import tagged
from odoo.tools import mute_logger
from psycopg2.errors import UniqueViolation

from .common import ClinicCase


@tagged("post_install", "-at_install")
class TestPatient(ClinicCase):
    def make(self, **values):
        return self.env["res.partner"].create({"name": "Luis", "is_patient": True, **values})

    def test_each_patient_has_a_number_of_their_own(self):
        first, second = self.make(), self.make()
        self.assertTrue(first.patient_number.startswith("NHC"))
        self.assertNotEqual(first.patient_number, second.patient_number)

    def test_a_contact_gets_a_number_when_it_becomes_a_patient_and_keeps_it(self):
        contact = self.env["res.partner"].create({"name": "Luis"})
        self.assertFalse(contact.patient_number)
        contact.is_patient = True
        number = contact.patient_number
        self.assertTrue(number)
        contact.is_patient = False
        contact.is_patient = True
        self.assertEqual(contact.patient_number, number)

    def test_a_copy_is_another_patient(self):
        patient = self.make(identity_type="dni", identity_number="12345678Z")
        copied = patient.copy()
        self.assertNotEqual(copied.patient_number, patient.patient_number)
        self.assertFalse(copied.identity_number)

    def test_two_patients_cannot_have_one_number(self):
        other = self.make()
        with self.assertRaises(UniqueViolation), mute_logger("odoo.sql_db"):
            self.make(patient_number=other.patient_number)

    def test_the_age_is_in_whole_years(self):
        patient = self.make(birth_date="2000-02-29")
        with freeze_time("2026-02-28"):
            patient.invalidate_recordset(["age"])
            self.assertEqual(patient.age, 25)
        with freeze_time("2026-03-01"):
            patient.invalidate_recordset(["age"])
            self.assertEqual(patient.age, 26)
        self.assertEqual(self.make().age, 0)

    def test_nobody_is_born_tomorrow(self):
        with self.assertRaises(ValidationError):
            self.make(birth_date=date(2999, 1, 1))

    def test_valid_identity_documents_are_kept_in_one_form(self):
        for kind, given, kept in (
            ("dni", "12.345.678-z", "12345678Z"),
            ("nie", "x-1234567-l", "X1234567L"),
            ("passport", "ab 123456", "AB123456"),
            ("other", "7/a", "7A"),
        ):
            patient = self.make(identity_type=kind, identity_number=given)
            self.assertEqual(patient.identity_number, kept, kind)

    def test_a_wrong_check_letter_is_refused(self):
        for kind, number in (
            ("dni", "12345678A"),
            ("dni", "X1234567L"),
            ("nie", "X1234567A"),
            ("nie", "12345678Z"),
        ):
            with self.assertRaisesRegex(ValidationError, number):
                self.make(identity_type=kind, identity_number=number)

    def test_kind_and_number_go_together(self):
        for values in ({"identity_type": "dni"}, {"identity_number": "12345678Z"}):
            with self.assertRaises(ValidationError):
                self.make(**values)

    def test_two_patients_cannot_have_one_identity_document(self):
        self.make(identity_type="dni", identity_number="12345678Z")
        with self.assertRaises(UniqueViolation), mute_logger("odoo.sql_db"):
            self.make(identity_type="dni", identity_number="12345678-z")

    def test_a_patient_is_found_by_number(self):
        patient = self.make()
        found = self.env["res.partner"].name_search(patient.patient_number.lower())
        self.assertEqual([id_ for id_, _name in found], [patient.id])

    def test_the_smart_button_counts_what_is_in_force(self):
        record = self.signed()
        record.amend("Wrong dose").action_sign()
        self.draft()
        patient = self.patient.with_user(self.reader)
        self.assertEqual(patient.medical_record_count, 2)
        self.assertEqual(len(self.records.search(patient.action_medical_records()["domain"])), 3)
