"""Activities that stand for an outage."""

from odoo import fields, models


class MailActivity(models.Model):
    """An activity, which may be about an outage of the platform."""

    _inherit = "mail.activity"

    clinic_outage = fields.Char(
        "Outage", readonly=True, copy=False, index="btree_not_null", groups="base.group_system"
    )
