"""The service account works for every company."""

from odoo import Command, api, models


class ResCompany(models.Model):
    """A company whose documents the service account sees."""

    _inherit = "res.company"

    @api.model_create_multi
    def create(self, vals_list):
        """Let the documents' service user into each new company."""
        companies = super().create(vals_list)
        service = self.env.ref(
            "medical_documents_integration.user_documents", raise_if_not_found=False
        )
        if service:
            service.sudo().write(
                {"company_ids": [Command.link(company.id) for company in companies]}
            )
        return companies
