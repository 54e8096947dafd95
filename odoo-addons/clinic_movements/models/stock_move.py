"""Moves that another system asked for."""

from odoo import fields, models


class StockMove(models.Model):
    """A stock move, which another system may have asked for."""

    _inherit = "stock.move"

    clinic_request_id = fields.Many2one(
        "clinic.movement.request",
        "Movement request",
        readonly=True,
        copy=False,
        index="btree_not_null",
        ondelete="restrict",
    )


class StockMoveLine(models.Model):
    """A line of a stock move."""

    _inherit = "stock.move.line"

    clinic_request_id = fields.Many2one(related="move_id.clinic_request_id")
