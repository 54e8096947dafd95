"""The change feed's entity `patient`."""

from odoo import api, models
from odoo.addons.clinic_change_feed.feed.entities import Entity
from odoo.addons.clinic_change_feed.feed.sql import run

MODULE = "clinic_patients_feed"


class ClinicChange(models.Model):
    """The feed, with patients."""

    _inherit = "clinic.change"

    def init(self):
        """Watch contacts too; run at install and at each update of either addon."""
        super().init()
        run(self.env.cr, "watch.sql", MODULE)

    @api.model
    def _entities(self):
        return (*super()._entities(), Entity("patient", module=MODULE))
