"""What the service account of movements may do: book, which needs no access to any model."""

from odoo import api, models


class IrModelAccess(models.Model):
    """Access rights, narrowed for the service account."""

    _inherit = "ir.model.access"

    @api.model
    def _get_allowed_models(self, mode="read"):
        """Let a service account into no model, whatever other groups allow.

        Access rights of groups add up, and Odoo gives every internal user some: a group of their
        own cannot take them away.
        """
        if self.env.user.has_group("clinic_movements.group_service"):
            return frozenset()
        return super()._get_allowed_models(mode)
