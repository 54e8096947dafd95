"""What a service account of the feed may do: read."""

from odoo import api, models


class IrModelAccess(models.Model):
    """Access rights, but none to change anything for a service account."""

    _inherit = "ir.model.access"

    @api.model
    def _get_allowed_models(self, mode="read"):
        """Let a service account of the feed write, create and delete nothing.

        Access rights of groups add up, and Odoo gives every internal user some: a group of their
        own cannot take them away.
        """
        if mode != "read" and self.env.user.has_group("clinic_change_feed.group_service"):
            return frozenset()
        return super()._get_allowed_models(mode)
