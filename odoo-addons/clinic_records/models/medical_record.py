"""Medical records: written as drafts, signed for good, amended by a new revision."""

import hashlib
import json

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.tools import SQL, is_html_empty

DOCTOR = "clinic_records.group_doctor"
# Only signing and amending set these.
_GUARDED = {
    "number", "revision", "previous_id", "amendment_reason",
    "state", "signed_by_id", "signed_at", "content_sha256",
}  # fmt: skip


class ClinicMedicalRecord(models.Model):
    """One revision of one record of a patient's history."""

    _name = "clinic.medical.record"
    _description = "Medical record"
    _inherit = ("mail.thread", "mail.activity.mixin")
    _order = "date desc, id desc"
    _rec_name = "number"
    _check_company_auto = True

    number = fields.Char(readonly=True, copy=False, index="trigram")
    revision = fields.Integer(default=1, readonly=True, copy=False, aggregator=None)
    previous_id = fields.Many2one(
        "clinic.medical.record",
        "Amends",
        readonly=True,
        copy=False,
        ondelete="restrict",
        index="btree_not_null",
    )
    next_ids = fields.One2many("clinic.medical.record", "previous_id", "Amended by")
    amendment_reason = fields.Char("Reason for the amendment", readonly=True, copy=False)
    patient_id = fields.Many2one(
        "res.partner",
        required=True,
        ondelete="restrict",
        index=True,
        tracking=True,
        check_company=True,
        domain=[("is_patient", "=", True)],
    )
    company_id = fields.Many2one(
        "res.company", required=True, default=lambda self: self.env.company, index=True
    )
    kind = fields.Selection(
        [
            ("consultation", "Consultation"),
            ("report", "Report"),
            ("prescription", "Prescription"),
            ("lab_result", "Laboratory result"),
            ("discharge", "Discharge"),
        ],
        required=True,
        default="consultation",
        tracking=True,
    )
    author_id = fields.Many2one(
        "res.users", required=True, default=lambda self: self.env.user, tracking=True, index=True
    )
    date = fields.Date(required=True, default=fields.Date.context_today, tracking=True)
    subject = fields.Char(help="A few words to find the record by.")
    note = fields.Html("Clinical note", sanitize_style=True)
    attachment_ids = fields.Many2many(
        "ir.attachment",
        "clinic_medical_record_attachment_rel",
        "record_id",
        "attachment_id",
        "Files",
        copy=False,
        bypass_search_access=True,
    )
    state = fields.Selection(
        [("draft", "Draft"), ("signed", "Signed"), ("amended", "Replaced")],
        required=True,
        default="draft",
        readonly=True,
        copy=False,
        tracking=True,
        index=True,
    )
    signed_by_id = fields.Many2one("res.users", "Signed by", readonly=True, copy=False)
    signed_at = fields.Datetime("Signed on", readonly=True, copy=False)
    content_sha256 = fields.Char("SHA-256 of what was signed", readonly=True, copy=False)
    is_locked = fields.Boolean(compute="_compute_is_locked")

    _number_unique = models.Constraint(
        "UNIQUE (number, revision)", "Another record has this number and revision."
    )
    _previous_unique = models.Constraint(
        "UNIQUE (previous_id)", "This record is being amended already."
    )
    _signed_check = models.Constraint(
        """CHECK ((state = 'draft') = (signed_at IS NULL)
              AND (state = 'draft') = (signed_by_id IS NULL)
              AND (state = 'draft') = (content_sha256 IS NULL))""",
        "A record is signed by somebody, at some time, and is a draft otherwise.",
    )

    @api.depends("state")
    def _compute_is_locked(self):
        for record in self:
            record.is_locked = record.state != "draft"

    @api.depends("number", "revision")
    def _compute_display_name(self):
        for record in self:
            name = record.number or self.env._("New record")
            if record.revision > 1:
                name = self.env._(
                    "%(number)s (revision %(revision)s)", number=name, revision=record.revision
                )
            record.display_name = name

    @api.constrains("patient_id")
    def _check_patient(self):
        for record in self:
            if not record.patient_id.is_patient:
                raise ValidationError(
                    self.env._("%(name)s is not a patient.", name=record.patient_id.name)
                )

    @api.model_create_multi
    def create(self, vals_list):
        """Make drafts, each with the next number."""
        for vals in vals_list:
            self._refuse_guarded(vals)
        return self._create_drafts(vals_list)

    def _create_drafts(self, vals_list):
        number = self.env["ir.sequence"].sudo().next_by_code
        blank = dict.fromkeys(_GUARDED, False) | {"state": "draft", "revision": 1}
        records = super().create(  # blank: no default of the context gets in
            [
                {**blank, **vals, "number": vals.get("number") or number("clinic.medical.record")}
                for vals in vals_list
            ]
        )
        for record in records:
            record.attachment_ids._check_medical_record(record)
        return records

    def write(self, vals):
        """Change drafts; of a signed record only what is no part of it (its discussion)."""
        self._refuse_guarded(vals)
        if not all(self._is_free(name) for name in vals):
            self._refuse_change()
        done = super().write(vals)
        if "attachment_ids" in vals:
            for record in self:
                record.attachment_ids._check_medical_record(record)
        return done

    @api.ondelete(at_uninstall=False)
    def _unlink_drafts_only(self):
        self._refuse_change()

    # A discussion is kept in one language for all who read it: the clinic's, not the writer's.

    def _in_clinic_language(self):
        return self.with_context(lang=self.company_id.sudo().partner_id[:1].lang or self.env.lang)

    def _creation_message(self):
        self.ensure_one()
        return super(ClinicMedicalRecord, self._in_clinic_language())._creation_message()

    def _message_track(self, fields_iter, initial_values_dict):
        tracking = {}
        for records in self.exists().grouped("company_id").values():
            spoken = records._in_clinic_language()
            tracking |= super(ClinicMedicalRecord, spoken)._message_track(
                fields_iter, initial_values_dict
            )
        return tracking

    @api.model
    def _is_free(self, name):
        """Tell whether a field is no part of what is signed. Extend it for fields of your own."""
        return name.startswith(("message_", "activity_", "my_activity_"))

    def _refuse_guarded(self, vals):
        if guarded := [name for name in vals if name in _GUARDED]:
            labels = ", ".join(self._fields[name]._description_string(self.env) for name in guarded)
            raise UserError(
                self.env._("Set by signing and amending, never by hand: %(fields)s.", fields=labels)
            )

    def _refuse_change(self):
        """Raise if a record is locked, whoever asks."""
        if locked := self.filtered("is_locked"):
            raise UserError(
                self.env._(
                    "%(record)s is signed: it is not changed any more. Amend it instead.",
                    record=locked[0].display_name,
                )
            )

    def _lock(self):
        """Lock the rows: what another transaction changed meanwhile makes Odoo begin again."""
        if self.ids:
            self.env.cr.execute(
                SQL(
                    "SELECT id FROM clinic_medical_record WHERE id IN %s ORDER BY id"
                    " FOR NO KEY UPDATE",
                    tuple(self.ids),
                )
            )

    def action_sign(self):
        """Sign drafts. From then on they stay as they are.

        Raises:
            AccessError: the user is no doctor.
            UserError: a record is signed already, or is empty.
        """
        if not self.env.user.has_group(DOCTOR):
            raise AccessError(self.env._("Only doctors sign medical records."))
        self.check_access("write")
        self._lock()
        for record in self:
            record._refuse_change()
            if is_html_empty(record.note) and not record.attachment_ids:
                raise UserError(self.env._("There is nothing to sign: write a note or add a file."))
            record._sign()
        return True

    def _sign(self):
        if self.attachment_ids:
            # Nobody changes a file between our reading it and our commit.
            self.env.cr.execute(
                SQL(
                    "SELECT id FROM ir_attachment WHERE id IN %s ORDER BY id FOR SHARE",
                    tuple(self.attachment_ids.ids),
                )
            )
        now = fields.Datetime.now()
        digest = self._digest(self.env.user, now)
        self._set(
            {
                "state": "signed",
                "signed_by_id": self.env.uid,
                "signed_at": now,
                "content_sha256": digest,
            }
        )
        if self.previous_id:
            self.previous_id.sudo()._set({"state": "amended"})

    def _set(self, vals):
        """Write what `write` refuses."""
        return super().write(vals)

    def _signed_content(self):
        """Return what a signature covers. Extend it for fields of your own."""
        return {
            "number": self.number,
            "revision": self.revision,
            "amends": self.previous_id.content_sha256 or None,
            "amendment_reason": self.amendment_reason or None,
            "company": self.company_id.id,
            "patient": self.patient_id.patient_number,
            "author": self.author_id.id,
            "kind": self.kind,
            "date": self.date.isoformat(),
            "subject": self.subject or None,
            "note": self.note or "",
            "files": sorted(
                [file.name, hashlib.sha256(file.raw or b"").hexdigest()]
                for file in self.attachment_ids
            ),
        }

    def _digest(self, signer, moment):
        self.ensure_one()
        content = self.sudo()._signed_content()
        content |= {"signed_by": signer.id, "signed_at": moment.isoformat()}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def is_intact(self):
        """Tell whether each signed record is still what was signed, files included."""
        self.check_access("read")
        return all(
            record.content_sha256 == record._digest(record.signed_by_id, record.signed_at)
            for record in self.sudo()
            if record.is_locked
        )

    def action_verify(self):
        """Show whether the records are still what was signed."""
        intact = self.is_intact()
        return {
            "type": "ir.actions.client",
            "tag": "display_notification",
            "params": {
                "type": "success" if intact else "danger",
                "sticky": not intact,
                "message": self.env._("The content is what was signed.")
                if intact
                else self.env._("The content is NOT what was signed. Tell the records manager."),
            },
        }

    def action_amend(self):
        """Ask for the reason of an amendment."""
        self.ensure_one()
        return {
            "type": "ir.actions.act_window",
            "name": self.env._("Amend %(record)s", record=self.display_name),
            "res_model": "clinic.medical.record.amend",
            "view_mode": "form",
            "target": "new",
            "context": {"default_record_id": self.id},
        }

    def amend(self, reason):
        """Make the draft of the next revision; the signed one stays in force until it is signed.

        Args:
            reason: why; it is kept and printed.

        Raises:
            UserError: the record is not in force, or is being amended already.
        """
        self.ensure_one()
        if not self.env.user.has_group(DOCTOR):
            raise AccessError(self.env._("Only doctors amend medical records."))
        self.check_access("write")
        if not (reason or "").strip():
            raise UserError(self.env._("Give the reason for the amendment."))
        if self.state != "signed":
            raise UserError(
                self.env._(
                    "%(record)s is not in force: only the signed revision is amended.",
                    record=self.display_name,
                )
            )
        if self.next_ids:
            raise UserError(
                self.env._(
                    "%(record)s is being amended already: see %(draft)s.",
                    record=self.display_name,
                    draft=self.next_ids[0].display_name,
                )
            )
        revision = self._create_drafts(
            [
                {
                    **self._amended_values(),
                    "number": self.number,
                    "revision": self.revision + 1,
                    "previous_id": self.id,
                    "amendment_reason": reason.strip(),
                }
            ]
        )
        for file in self.attachment_ids:
            copied = file.copy({"name": file.name, "res_id": revision.id})
            revision.attachment_ids |= copied
        return revision

    def _amended_values(self):
        """Return what a new revision begins with. Extend it for fields of your own."""
        return {
            "patient_id": self.patient_id.id,
            "company_id": self.company_id.id,
            "kind": self.kind,
            "author_id": self.env.uid,
            "date": self.date,
            "subject": self.subject,
            "note": self.note,
        }

    def action_revisions(self):
        """Open all revisions of the record."""
        self.ensure_one()
        action = self.env["ir.actions.act_window"]._for_xml_id(
            "clinic_records.action_medical_record"
        )
        return action | {"domain": [("number", "=", self.number)], "context": {}}

    def _printed_timezone(self):
        """Return where the signing time is told: a document has one, whoever prints it."""
        self.ensure_one()
        company, signer = self.sudo().company_id, self.sudo().signed_by_id
        return company.partner_id.tz or self.patient_id.tz or signer.tz or "UTC"

    def action_print(self):
        """Print."""
        return self.env.ref("clinic_records.action_report_medical_record").report_action(self)
