"""Transfers that another system asked for."""

from odoo import fields, models


class StockPicking(models.Model):
    """A transfer, which another system may have asked for."""

    _inherit = "stock.picking"

    clinic_request_id = fields.Many2one(
        "clinic.movement.request",
        "Movement request",
        readonly=True,
        copy=False,
        index="btree_not_null",
        ondelete="restrict",
    )
