"""What happened to a document: here, and as notifications of the store's side tell.

A notification is applied once, however often it comes.
"""

import uuid

from odoo import api, fields, models
from odoo.tools import SQL

from .sentences import why


class ClinicDocumentNotification(models.Model):
    """One thing that happened to a document."""

    _name = "clinic.document.notification"
    _description = "Event of a document"
    _order = "document_id, at desc, id desc"
    _rec_name = "notification_id"

    notification_id = fields.Char(required=True, readonly=True)
    document_id = fields.Many2one(
        "clinic.document", required=True, readonly=True, index=True, ondelete="cascade"
    )
    number = fields.Integer(required=True, readonly=True, aggregator=None)
    event = fields.Selection(
        [
            ("made", "Posted or signed"),
            ("rendered", "PDF made"),
            ("published", "Sent to the store"),
            ("sent_again", "Sent again by hand"),
            ("stored", "Stored"),
            ("retrying", "Trying again"),
            ("parked", "Set aside"),
        ],
        required=True,
        readonly=True,
    )
    user_id = fields.Many2one("res.users", "By", readonly=True)
    at = fields.Datetime("Happened on", required=True, readonly=True)
    reason = fields.Char("Reason's code", readonly=True)
    sentence = fields.Char("Why", compute="_compute_sentence")
    detail = fields.Text(
        "Technical detail", readonly=True, groups="medical_documents_integration.group_manager"
    )
    emails = fields.Json(readonly=True, groups="base.group_system")

    _notification_id_unique = models.Constraint(
        "UNIQUE (notification_id)", "This notification was applied already."
    )

    @api.depends("reason")
    @api.depends_context("lang")
    def _compute_sentence(self):
        for notification in self:
            notification.sentence = notification.reason and why(self.env, notification.reason)

    def _happened(self, document, event, at=None, user=None):
        """Write down what happened to a document here."""
        self.create(
            {
                "notification_id": str(uuid.uuid4()),
                "document_id": document.id,
                "number": 0,
                "event": event,
                "at": at or fields.Datetime.now(),
                "user_id": user and user.id,
            }
        )

    def _note(self, document, notification, at):
        """Write a notification down.

        Returns:
            False if it is known already.
        """
        self.env.cr.execute(
            SQL(
                "INSERT INTO clinic_document_notification (notification_id, document_id, number,"
                " event, at, reason, detail, create_uid, create_date, write_uid, write_date)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now() AT TIME ZONE 'UTC', %s,"
                " now() AT TIME ZONE 'UTC') ON CONFLICT (notification_id) DO NOTHING",
                notification["notification_id"],
                document.id,
                notification["number"],
                notification["event"],
                at,
                notification.get("reason"),
                notification.get("detail"),
                self.env.uid,
                self.env.uid,
            )
        )
        document.invalidate_recordset(["notification_ids"])
        return self.env.cr.rowcount == 1
