"""A contact's clinical profile."""

from odoo import api, fields, models
from odoo.exceptions import ValidationError
from odoo.fields import Domain

from .identity import compact, is_valid

# Who works with patients; other users see that a contact is one, and no more.
STAFF = "clinic_records.group_clerk,clinic_records.group_reader"


class ResPartner(models.Model):
    """Makes a contact a patient."""

    _inherit = "res.partner"

    is_patient = fields.Boolean("Patient", index="btree_not_null", tracking=True)
    patient_number = fields.Char(
        "Patient number", readonly=True, copy=False, help="Given once, by the sequence."
    )
    birth_date = fields.Date("Birth date", groups=STAFF, copy=False)
    age = fields.Integer("Age", compute="_compute_age", groups=STAFF, help="In whole years.")
    sex = fields.Selection(
        [
            ("female", "Female"),
            ("male", "Male"),
            ("other", "Other"),
            ("unknown", "Unknown"),
        ],
        groups=STAFF,
        copy=False,
    )
    identity_type = fields.Selection(
        [("dni", "DNI"), ("nie", "NIE"), ("passport", "Passport"), ("other", "Other document")],
        "Identity document",
        groups=STAFF,
        copy=False,
    )
    identity_number = fields.Char("Identity number", groups=STAFF, copy=False)
    medical_record_ids = fields.One2many(
        "clinic.medical.record", "patient_id", groups="clinic_records.group_reader"
    )
    medical_record_count = fields.Integer(
        "Medical records",
        compute="_compute_medical_record_count",
        groups="clinic_records.group_reader",
    )

    _patient_number_unique = models.Constraint(
        "UNIQUE (patient_number)", "Another patient has this patient number."
    )
    _identity_unique = models.UniqueIndex(
        "(identity_type, identity_number) WHERE identity_number IS NOT NULL",
        "Another patient has this identity document.",
    )

    @api.depends("birth_date")
    @api.depends_context("tz")
    def _compute_age(self):
        today = fields.Date.context_today(self)
        for patient in self:
            born = patient.birth_date
            patient.age = born and (
                today.year - born.year - ((today.month, today.day) < (born.month, born.day))
            )

    @api.depends("medical_record_ids")
    def _compute_medical_record_count(self):
        counts = dict(
            self.env["clinic.medical.record"]._read_group(
                [("patient_id", "in", self.ids), ("state", "!=", "amended")],
                ["patient_id"],
                ["__count"],
            )
        )
        for patient in self:
            patient.medical_record_count = counts.get(patient._origin, 0)

    @api.constrains("birth_date")
    def _check_birth_date(self):
        today = fields.Date.context_today(self)
        for patient in self:
            if patient.birth_date and patient.birth_date > today:
                raise ValidationError(self.env._("The birth date is in the future."))

    @api.constrains("identity_type", "identity_number")
    def _check_identity(self):
        for patient in self:
            kind, number = patient.identity_type, patient.identity_number
            if bool(kind) != bool(number):
                raise ValidationError(
                    self.env._("Give both the kind and the number of the identity document.")
                )
            if number and not is_valid(kind, number):
                label = dict(self._fields["identity_type"]._description_selection(self.env))[kind]
                raise ValidationError(
                    self.env._(
                        "%(number)s is not a valid %(kind)s: check its digits and letter.",
                        number=number,
                        kind=label,
                    )
                )

    @api.onchange("identity_number")
    def _onchange_identity_number(self):
        self.identity_number = compact(self.identity_number)

    @api.model_create_multi
    def create(self, vals_list):
        """Number new patients."""
        partners = super().create([self._with_compact_identity(vals) for vals in vals_list])
        partners._number_patients()
        return partners

    def write(self, vals):
        """Number contacts that become patients."""
        done = super().write(self._with_compact_identity(vals))
        if vals.get("is_patient"):
            self._number_patients()
        return done

    def _number_patients(self):
        """Give a number to each patient who has none."""
        for patient in self.filtered(lambda p: p.is_patient and not p.patient_number):
            patient.patient_number = self.env["ir.sequence"].sudo().next_by_code("clinic.patient")

    def _with_compact_identity(self, vals):
        if "identity_number" not in vals:
            return vals
        return {**vals, "identity_number": compact(vals["identity_number"])}

    @api.model
    def _search_display_name(self, operator, value):
        """Find a patient by their whole number too."""
        domain = super()._search_display_name(operator, value)
        if operator in {"ilike", "=ilike", "like", "=like", "="} and isinstance(value, str):
            domain = Domain(domain) | Domain("patient_number", "=", value.strip().upper())
        return domain

    def action_medical_records(self):
        """Open the patient's medical records."""
        self.ensure_one()
        action = self.env["ir.actions.act_window"]._for_xml_id(
            "clinic_records.action_medical_record"
        )
        return action | {
            "domain": [("patient_id", "=", self.id)],
            "context": {"default_patient_id": self.id, "search_default_current": 1},
        }
