"""What the documents' service account may do: read the status of documents, no more."""

from odoo import api, models


class IrModelAccess(models.Model):
    """Access rights, narrowed for the service account."""

    _inherit = "ir.model.access"

    @api.model
    def _get_allowed_models(self, mode="read"):
        """Let a service account read documents and nothing else, whatever other groups allow.

        Access rights of groups add up, and Odoo gives every internal user some: a group of their
        own cannot take them away.
        """
        allowed = super()._get_allowed_models(mode)
        if self.env.user.has_group("medical_documents_integration.group_service"):
            return allowed & {"clinic.document"} if mode == "read" else frozenset()
        return allowed
