"""Readers of the feed read every company's stock."""

from odoo import Command, api, models


class ResCompany(models.Model):
    """A company that lets the feed's reader in."""

    _inherit = "res.company"

    @api.model_create_multi
    def create(self, vals_list):
        """Let the feed's service user into each new company.

        The feed itself is SQL and shows all companies. Its reader also compares sums through the
        ORM, whose record rules hide the companies a user is not in.
        """
        companies = super().create(vals_list)
        reader = self.env.ref("clinic_change_feed.user_feed", raise_if_not_found=False)
        if reader:
            reader.sudo().write(
                {"company_ids": [Command.link(company.id) for company in companies]}
            )
        return companies
