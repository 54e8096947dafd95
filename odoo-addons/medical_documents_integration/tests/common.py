import hashlib
import uuid

from odoo import Command
from odoo.tests import TransactionCase, new_test_user

PDF = b"%PDF-1.4\nnot much of one\n%%EOF\n"


class DocumentCase(TransactionCase):
    """Invoices and records to make documents of."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env["res.lang"]._activate_lang("en_US")
        cls.env = cls.env(context={**cls.env.context, "lang": "en_US"})
        cls.env.company.partner_id.write({"lang": "en_US", "tz": "Europe/Madrid"})
        cls.documents = cls.env["clinic.document"]
        cls.cron = cls.env.ref("medical_documents_integration.cron_publish")
        cls.service = cls.env.ref("medical_documents_integration.user_documents")
        cls.partner = cls.env["res.partner"].create({"name": "Somebody"})
        cls.patient = cls.env["res.partner"].create({"name": "Ana García", "is_patient": True})
        cls.clerk = cls._user("clerk", "account.group_account_invoice")
        cls.doctor = cls._user("doctor", "clinic_records.group_doctor")
        cls.manager = cls._user("manager", "medical_documents_integration.group_manager")
        cls.nobody = cls._user("nobody")

    @classmethod
    def _user(cls, login, *groups):
        return new_test_user(
            cls.env,
            f"documents_{login}",
            groups=",".join(["base.group_user", *groups]),
            email=f"{login}@clinica.example",
            lang="en_US",
            notification_type="inbox",
        )

    @classmethod
    def speak_spanish(cls, *partners):
        """Let people, or companies, read Spanish."""
        cls.env["res.lang"]._activate_lang("es_ES")
        cls.env["ir.module.module"].search(
            [("name", "in", ("clinic_records", "medical_documents_integration"))]
        )._update_translations(["es_ES"], overwrite=True)
        for partner in partners:
            partner.lang = "es_ES"

    @classmethod
    def invoice(cls, partner=None, move_type="out_invoice", user=None):
        return (
            cls.env["account.move"]
            .with_user(user or cls.clerk)
            .create(
                {
                    "move_type": move_type,
                    "partner_id": (partner or cls.partner).id,
                    "invoice_date": "2026-03-01",
                    "invoice_line_ids": [
                        Command.create({"name": "Visit", "quantity": 1, "price_unit": 50})
                    ],
                }
            )
        )

    @classmethod
    def posted(cls, *args, **kwargs):
        move = cls.invoice(*args, **kwargs)
        move.action_post()
        return move

    @classmethod
    def signed(cls):
        record = (
            cls.env["clinic.medical.record"]
            .with_user(cls.doctor)
            .create({"patient_id": cls.patient.id, "note": "<p>Healthy</p>"})
        )
        record.action_sign()
        return record

    @classmethod
    def of(cls, source):
        return cls.documents.search(
            [("res_model", "=", source._name), ("res_id", "in", source.ids)], order="revision"
        )

    @classmethod
    def rendered(cls, source):
        """Return the record's newest document as the publisher leaves it, without a PDF engine."""
        document = cls.of(source)[-1]
        document._fix(PDF)
        document.state = "published"
        return document

    def told(self, document, event="stored", number=1, **more):
        """A notification about a document."""
        facts = {
            "stored": {
                "url": "https://drive.example/1",
                "store": "drive",
                "sha256": hashlib.sha256(PDF).hexdigest(),
                "size_bytes": len(PDF),
            },
            "retrying": {
                "reason": "not_now",
                "detail": "Drive: HTTP 503.",
                "attempt": 1,
                "next_attempt_at": "2026-03-01T10:01:00+00:00",
            },
            "parked": {"reason": "broken_pdf", "detail": "startxref not found"},
        }
        return {
            "document_id": document.document_id,
            "notification_id": str(uuid.uuid4()),
            "revision": document.revision,
            "number": number,
            "event": event,
            "at": "2026-03-01T10:00:00+00:00",
            **facts[event],
            **more,
        }
