"""Asks why a signed record is amended."""

from odoo import fields, models


class ClinicMedicalRecordAmend(models.TransientModel):
    """The reason of an amendment."""

    _name = "clinic.medical.record.amend"
    _description = "Amend a medical record"

    record_id = fields.Many2one(
        "clinic.medical.record", "Record", required=True, readonly=True, ondelete="cascade"
    )
    reason = fields.Char(required=True, help="It is kept with the new revision and printed.")

    def action_amend(self):
        """Make the new revision and open it."""
        revision = self.record_id.amend(self.reason)
        return {
            "type": "ir.actions.act_window",
            "res_model": revision._name,
            "res_id": revision.id,
            "view_mode": "form",
        }
