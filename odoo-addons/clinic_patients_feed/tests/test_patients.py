from odoo.addons.clinic_change_feed.tests.common import FeedCase
from odoo.tests import tagged

from ..hooks import uninstall_hook

VALUES = {
    "name": "Lucía Ñúñez",
    "is_patient": True,
    "birth_date": "1984-02-29",
    "sex": "female",
    "identity_type": "dni",
    "identity_number": "12345678Z",
    "phone": "600 000 000",
    "email": "lucia@example.com",
}


@tagged("post_install", "-at_install")
class TestPatients(FeedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.patient = cls.env["res.partner"].create(VALUES)
        cls.env.flush_all()

    def test_a_patient_is_shown_with_what_identifies_them_and_nothing_clinical(self):
        shown = self.shown("patient", self.patient.id)
        self.assertEqual(shown["op"], "upsert")
        self.assertEqual(shown["values"]["patient_number"], self.patient.patient_number)
        self.assertEqual(shown["values"]["name"], "Lucía Ñúñez")
        self.assertEqual(str(shown["values"]["birth_date"]), "1984-02-29")
        self.assertEqual(shown["values"]["identity_number"], "12345678Z")
        self.assertEqual(
            set(shown["values"]),
            {
                "patient_number", "name", "birth_date", "sex", "identity_type", "identity_number",
                "phone", "email", "language", "active", "company_id",
            },
        )  # fmt: skip

    def test_each_value_shown_writes_and_nothing_else_does(self):
        for name, value in {
            "name": "Lucía Núñez", "birth_date": "1984-03-01", "sex": "unknown",
            "identity_number": "X1234567L", "phone": "1", "email": "a@example.com", "active": False,
        }.items():  # fmt: skip
            more = {"identity_type": "nie"} if name == "identity_number" else {}
            with self.assertWrites(("patient", self.patient.id)):
                self.patient.write({name: value, **more})
        with self.assertWrites():
            self.patient.comment = "not shown"

    def test_a_contact_that_is_no_patient_is_not_the_feeds_business(self):
        with self.assertWrites():
            contact = self.env["res.partner"].create({"name": "Proveedor"})
            contact.phone = "2"
        listed = self.env["clinic.change"].state("patient", limit=10_000)["changes"]
        self.assertIn(self.patient.id, [change["id"] for change in listed])
        self.assertNotIn(contact.id, [change["id"] for change in listed])

    def test_a_contact_that_becomes_and_ceases_to_be_a_patient_comes_and_goes(self):
        contact = self.env["res.partner"].create({"name": "Ana"})
        with self.assertWrites(("patient", contact.id)):
            contact.is_patient = True
        self.assertEqual(self.shown("patient", contact.id)["op"], "upsert")
        with self.assertWrites(("patient", contact.id)):
            contact.is_patient = False
        self.assertEqual(self.shown("patient", contact.id)["op"], "delete")

    def test_a_deleted_patient_is_gone(self):
        patient_id = self.patient.id
        with self.assertWrites(("patient", patient_id)):
            self.patient.unlink()
        self.assertEqual(self.shown("patient", patient_id)["op"], "delete")

    def test_the_feed_says_which_entities_it_has(self):
        self.assertIn("patient", self.env["clinic.change"].entities())

    def test_an_update_of_the_feed_leaves_patients_watched(self):
        self.env["clinic.change"].init()
        with self.assertWrites(("patient", self.patient.id)):
            self.patient.phone = "3"

    def test_uninstalling_leaves_nothing_that_writes(self):
        uninstall_hook(self.env)
        with self.assertWrites():
            self.patient.phone = "4"
