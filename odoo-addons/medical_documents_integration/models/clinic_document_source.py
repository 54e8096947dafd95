"""What invoices and medical records have in common: they become documents."""

from odoo import api, fields, models


class UnrenderableError(Exception):
    """A document cannot be rendered.

    `reason` is a code of `sentences`; the message is for technicians.
    """

    def __init__(self, reason, detail=""):
        """Keep both."""
        super().__init__(detail or reason)
        self.reason = reason


class NotNowError(UnrenderableError):
    """A document cannot be rendered now, and that is nobody's fault."""


def in_language_of(record, company):
    """Return a record that speaks as a company does, for what is written once and read by all."""
    clinic = company.sudo().partner_id
    context = {name: clinic[name] for name in ("lang", "tz") if clinic[name]}
    return record.with_context(**context)


class ClinicDocumentSource(models.AbstractModel):
    """A record that becomes a document.

    Whoever inherits it says in `_document_values` what the document is called and in
    `_render_document` what it looks like, and calls `_make_document` when it is final.
    """

    _name = "clinic.document.source"
    _description = "Source of a document"

    document_count = fields.Integer("Stored documents", compute="_compute_document")
    document_state = fields.Selection(
        lambda self: self.env["clinic.document"]._fields["state"]._description_selection(self.env),
        "Document",
        compute="_compute_document",
    )
    document_url = fields.Char("Document's address", compute="_compute_document")

    @api.depends_context("uid")
    def _compute_document(self):
        documents = (
            self.env["clinic.document"]
            .sudo()
            .search([("res_model", "=", self._name), ("res_id", "in", self.ids)], order="revision")
        )
        by_source = documents.grouped("res_id")
        for source in self:
            found = by_source.get(source.id, documents.browse())
            newest = found[-1:]
            source.document_count = len(found)
            source.document_state = newest.state
            source.document_url = newest.url

    def action_open_documents(self):
        """Show the documents made of this record."""
        self.ensure_one()
        action = self.env["ir.actions.act_window"]._for_xml_id(
            "medical_documents_integration.action_clinic_document"
        )
        documents = self.env["clinic.document"].search(
            [("res_model", "=", self._name), ("res_id", "=", self.id)]
        )
        action["domain"] = [("id", "in", documents.ids)]
        action["context"] = {}
        if len(documents) == 1:
            action.update(views=[(False, "form")], res_id=documents.id)
        return action

    def _make_documents(self):
        """Write each record's document into the outbox, in this transaction. No more happens."""
        if self:
            documents = self.env["clinic.document"].sudo()
            documents._put(self)
            documents._wake_publisher()

    def _document_values(self):
        """Return type, number, title, date, company and patient of the document."""
        raise NotImplementedError

    def _document_predecessors(self):
        """Return the records whose documents these ones' are new revisions of."""
        return self.browse()

    def _render_document(self):
        """Return the PDF's bytes.

        Raises:
            NotNowError: it is no final document at the moment.
        """
        raise NotImplementedError
