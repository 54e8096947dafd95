"""The dialog behind *Back up now*."""

from odoo import fields, models

from ..models.clinic_backup import KINDS


class ClinicBackupRequest(models.TransientModel):
    """What to back up, and why."""

    _name = "clinic.backup.request"
    _description = "Request for a backup"

    kind = fields.Selection(KINDS, "What", required=True, default="full")
    note = fields.Char("Why", size=200, help="Shown beside the backup, such as: before the upgrade")

    def action_ask(self):
        """Ask for the backup, and show what becomes of it."""
        self.ensure_one()
        backup = self.env["clinic.backup"]._ask(self.kind, self.note or "")
        return {
            "type": "ir.actions.act_window",
            "res_model": backup._name,
            "res_id": backup.id,
            "views": [(False, "form")],
            "target": "current",
        }
