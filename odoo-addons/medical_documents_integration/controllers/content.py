"""GET /clinic/documents/<uuid>/<revision>/content: a document's bytes, for the service account."""

from odoo import http
from odoo.exceptions import AccessError
from odoo.http import request

from ..models.clinic_document import MODULE


class ClinicDocuments(http.Controller):
    """The doors to a document's bytes: one for the program, one for people."""

    @http.route(
        "/clinic/documents/<string:document_id>/<int:revision>/content",
        type="http",
        auth="bearer",
        methods=["GET"],
        save_session=False,
        readonly=True,
    )
    def content(self, document_id, revision, **_ignored):
        """Stream a revision.

        Returns:
            200 or 206 with ETag and Content-Length; or a JSON object with `error`: 403 (not the
            service account), 404 (no such document, revision or file).
        """
        if not request.env.user.has_group(f"{MODULE}.group_service"):
            return _refuse(403, "This user is not the documents' service account")
        document = (
            request.env["clinic.document"]
            .sudo()
            .search([("document_id", "=", document_id), ("revision", "=", revision)])
        )
        if not document.attachment_id:
            return _refuse(404, "There is no such document, or this revision is not rendered")
        return _send(document, as_attachment=True)

    @http.route("/clinic/documents/<int:row_id>/view", type="http", auth="user", methods=["GET"])
    def view(self, row_id, **_ignored):
        """Show a document to whom may read the record that it shows."""
        document = request.env["clinic.document"].browse(row_id).exists()
        if not document:
            return request.not_found()
        document.check_access("read")
        source = document.sudo()._source()
        if not source or not source.sudo(False).has_access("read"):
            raise AccessError(request.env._("You may not read the record that it shows."))
        if not document.sudo().attachment_id:
            return request.not_found()
        return _send(document.sudo(), as_attachment=False)


def _send(document, as_attachment):
    try:
        stream = (
            request.env["ir.binary"]
            .sudo()
            ._get_stream_from(document.attachment_id, "raw", filename=document.file_name)
        )
        stream.public = False
        response = stream.get_response(as_attachment=as_attachment)
    except OSError:
        return _refuse(404, "The file is not in Odoo's file store any more")
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _refuse(status, message):
    return request.make_json_response(
        {"error": message}, headers=[("Cache-Control", "no-store")], status=status
    )
