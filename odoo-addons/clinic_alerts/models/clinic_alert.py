"""Tells the platform's administrators of outages. Nothing is kept but the activities."""

import re

from markupsafe import Markup
from odoo import _, api, fields, models
from odoo.exceptions import AccessError, ValidationError
from odoo.tools import plaintext2html

KINDS = ("opened", "worse", "reminder", "closed")
LONGEST_SUMMARY = 250
LONGEST_TEXT = 20_000
_COMMAND = re.compile(r"`([^`<>]+)`")


class ClinicAlert(models.AbstractModel):
    """An outage, as the notifier in Airflow tells it."""

    _name = "clinic.alert"
    _description = "Alert"

    @api.model
    def notify(self, outage_id, kind, severity, summary, text, link=""):
        """Make, change or close the activity of each administrator about one outage.

        Told twice, it changes nothing more. Who has marked an activity as done gets another one
        when the outage got worse, or by the next reminder.

        Args:
            outage_id: The outage, always under the same id.
            kind: opened, worse, reminder or closed.
            severity: warning or critical.
            summary: One line.
            text: Everything else, as plain text.
            link: Where Airflow shows it.

        Returns:
            How many activities are open now.
        """
        if not self.env.user.has_group("clinic_alerts.group_service"):
            raise AccessError(_("Only the alerts' service account may tell of outages."))
        texts = (outage_id, summary, text, link)
        if kind not in KINDS or not all(isinstance(each, str) for each in texts) or not outage_id:
            raise ValidationError(_("An alert is not valid."))
        activities = self.env["mail.activity"].sudo()
        known = activities.with_context(active_test=False).search(
            [("clinic_outage", "=", outage_id)]
        )
        values = self._values(severity, summary, text, link)
        if kind == "closed":
            known.filtered("active").write(values)
            known.filtered("active").action_feedback(feedback=summary)
            return {"activities": 0}
        known.filtered("active").write(values)
        has_one = (known if kind == "opened" else known.filtered("active")).user_id
        group = self.env.ref("clinic_backups.group_platform_administrator").sudo()
        # The administrator writes by e-mail what has to be: an activity is not mailed once more.
        activities.with_context(mail_activity_quick_update=True).create(
            [
                {**values, "clinic_outage": outage_id, "user_id": user.id}
                for user in group.all_user_ids - has_one
                if user.active and not user.share and user != self.env.ref("base.user_root")
            ]
        )
        return {"activities": activities.search_count([("clinic_outage", "=", outage_id)])}

    def _values(self, severity, summary, text, link):
        """Return what an activity shows."""
        kind_of_activity = "warning" if severity == "critical" else "todo"
        # Commands stand between backquotes, as in the runbook that they come from.
        note = Markup(_COMMAND.sub(r"<code>\1</code>", plaintext2html(text[:LONGEST_TEXT])))
        if link.startswith(("https://", "http://")) and link not in text:
            anchor = Markup('<p><a href="%s" target="_blank">%s</a></p>')
            note += anchor % (link, link)
        return {
            "activity_type_id": self.env.ref(f"mail.mail_activity_data_{kind_of_activity}").id,
            "summary": summary[:LONGEST_SUMMARY],
            "note": note,
            "date_deadline": fields.Date.context_today(self),
        }
