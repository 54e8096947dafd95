"""What a user wants to be mailed about documents."""

from odoo import fields, models


class ResUsers(models.Model):
    """A user with a preference for mail about documents."""

    _inherit = "res.users"

    clinic_document_email = fields.Selection(
        [
            ("never", "Never"),
            ("parked", "When a document could not be stored"),
            ("always", "Whenever a document was stored or could not be"),
        ],
        "E-mail about my documents",
        required=True,
        default="parked",
    )

    @property
    def SELF_READABLE_FIELDS(self):
        """Let users read their own preference."""
        return [*super().SELF_READABLE_FIELDS, "clinic_document_email"]

    @property
    def SELF_WRITEABLE_FIELDS(self):
        """Let users change their own preference."""
        return [*super().SELF_WRITEABLE_FIELDS, "clinic_document_email"]
