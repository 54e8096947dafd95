from odoo.tests import TransactionCase, new_test_user


class ClinicCase(TransactionCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env["res.lang"]._activate_lang("en_US")
        cls.env = cls.env(context={**cls.env.context, "lang": "en_US"})
        cls.doctor = cls.user("doctor", "clinic_records.group_doctor")
        cls.reader = cls.user("reader", "clinic_records.group_reader")
        cls.clerk = cls.user("clerk", "clinic_records.group_clerk")
        cls.manager = cls.user("manager", "clinic_records.group_manager")
        cls.nobody = cls.user("nobody", "base.group_user")
        cls.patient = cls.env["res.partner"].create(
            {"name": "Ana García", "is_patient": True, "lang": "en_US"}
        )
        cls.records = cls.env["clinic.medical.record"]

    @classmethod
    def user(cls, login, groups):
        return new_test_user(cls.env, f"records_{login}", groups=groups, lang="en_US")

    @classmethod
    def draft(cls, **values):
        return cls.records.with_user(cls.doctor).create(
            {"patient_id": cls.patient.id, "note": "<p>Healthy</p>", **values}
        )

    @classmethod
    def signed(cls, **values):
        record = cls.draft(**values)
        record.action_sign()
        return record

    @classmethod
    def upload(cls, name="scan.txt", raw=b"bone"):
        return (
            cls.env["ir.attachment"]
            .with_user(cls.doctor)
            .create({"name": name, "raw": raw, "res_model": "clinic.medical.record"})
        )
