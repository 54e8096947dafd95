"""Files of signed records stay as they were signed."""

import hashlib

from odoo import models
from odoo.exceptions import UserError

# What a signature covers, where the file is found, and who may read it.
_COVERED = {
    "checksum", "company_id", "datas", "db_datas", "mimetype", "name", "public", "raw",
    "res_field", "res_id", "res_model", "store_fname", "type", "url",
}  # fmt: skip


class IrAttachment(models.Model):
    """Refuses what would change a file of a signed medical record, whoever asks."""

    _inherit = "ir.attachment"

    def write(self, vals):
        """Refuse another content, name, place or visibility for a signed record's file."""
        if covered := _COVERED & vals.keys():
            self._locked_medical_records().filtered(
                lambda record: any(
                    file._differs(name, vals[name])
                    for file in record.attachment_ids & self
                    for name in covered
                )
            )._refuse_change()
        return super().write(vals)

    def unlink(self):
        """Refuse to lose a signed record's file."""
        self._locked_medical_records()._refuse_change()
        return super().unlink()

    def _locked_medical_records(self):
        """Return the signed medical records that these files belong to.

        Drafts are locked too, so that nobody signs one while its file changes.
        """
        records = self.env["clinic.medical.record"].sudo()
        if self.ids:
            records = records.search([("attachment_ids", "in", self.ids)])
            records._lock()
        return records.filtered("is_locked")

    def _differs(self, name, value):
        """Tell whether a value is another than the stored one; the same bytes are the same."""
        if name == "raw" and self.type == "binary":
            content = value.encode() if isinstance(value, str) else value or b""
            return hashlib.sha1(content, usedforsecurity=False).hexdigest() != self.checksum
        field = self._fields[name]
        return field.convert_to_cache(value, self) != field.convert_to_cache(self[name], self)

    def _check_medical_record(self, record):
        """Take files uploaded for a record into it, and refuse files of other records.

        Raises:
            UserError: a file belongs to something else.
        """
        for file in self.sudo():
            loose = file.res_model in {False, record._name} and not file.res_id
            if loose and (self.env.su or file.create_uid == self.env.user):
                file.write({"res_model": record._name, "res_id": record.id})
            if (file.res_model, file.res_id) != (record._name, record.id):
                raise UserError(
                    self.env._("%(file)s belongs to another record. Upload it here.", file=file.id)
                )
