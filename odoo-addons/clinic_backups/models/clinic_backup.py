"""Backups: requests on their way to Airflow, and what became of every backup."""

import json
import logging
import uuid
from datetime import UTC, datetime, timedelta

from odoo import SUPERUSER_ID, api, fields, models
from odoo.addons.clinic_broker.broker import Broker, BrokerError
from odoo.exceptions import AccessError, UserError
from odoo.tools import SQL, formatLang

from . import report as reports
from .sentences import explain

_logger = logging.getLogger(__name__)

MODULE = "clinic_backups"
EXCHANGE = "backups_exchange"
ROUTING_KEY = "backup.requested"
PROGRAM = "service-account-"  # so Keycloak calls the user of a program
MAX_WAIT_S = 300
PATIENCE_H = 6
"""So long a request that nobody answered keeps others from being made."""

KINDS = [
    ("full", "Database and files"),
    ("database", "Database only"),
    ("filestore", "Files only"),
]


class ClinicBackup(models.Model):
    """One backup, or a request for one. Airflow takes it and reports; here it is shown."""

    _name = "clinic.backup"
    _description = "Backup of Odoo"
    _order = "moment desc, id desc"

    backup_id = fields.Char("Identifier", readonly=True, copy=False)
    request_id = fields.Char("Request's identifier", readonly=True, copy=False)
    moment = fields.Datetime("Date", required=True, readonly=True, index=True)
    kind = fields.Selection(KINDS, "What", required=True, readonly=True)
    state = fields.Selection(
        [
            ("requested", "To send"),
            ("published", "Asked for"),
            ("running", "Under way"),
            ("stored", "Stored"),
            ("failed", "Failed"),
            ("expired", "Expired"),
        ],
        required=True,
        readonly=True,
        default="requested",
        index=True,
    )
    note = fields.Char("Why", readonly=True)
    user_id = fields.Many2one("res.users", "User", readonly=True)
    requested_by = fields.Char("Asked for as", readonly=True)
    requester = fields.Char("Asked for by", compute="_compute_requester")
    database = fields.Char(readonly=True)
    name = fields.Char("File", readonly=True)
    taken_at = fields.Datetime("State of the data", readonly=True)
    verified_at = fields.Datetime("Compared on", readonly=True)
    expired_at = fields.Datetime("Expired on", readonly=True)
    # More than an Integer holds.
    size_bytes = fields.Float("Size (bytes)", digits=(20, 0), readonly=True, aggregator=None)
    size = fields.Char(compute="_compute_size")
    url = fields.Char("Address", readonly=True)
    drilled_at = fields.Datetime("Last restore drill", readonly=True)
    drill = fields.Selection(
        [("passed", "Passed"), ("failed", "Not passed")], "Restore drill", readonly=True
    )
    explanation = fields.Text(compute="_compute_explanation")
    error = fields.Text("Technical detail", readonly=True)
    reported_at = fields.Char("Age of the last report", readonly=True)
    attempts = fields.Integer("Failed attempts to send", readonly=True, aggregator=None)
    next_attempt_at = fields.Datetime("Next attempt", readonly=True)
    published_at = fields.Datetime("Asked for on", readonly=True)

    _backup_unique = models.Constraint("UNIQUE (backup_id)", "This backup is there already.")
    _request_unique = models.Constraint("UNIQUE (request_id)", "This request is there already.")

    @api.depends("name", "kind", "state")
    @api.depends_context("lang")
    def _compute_display_name(self):
        kinds = dict(self._fields["kind"]._description_selection(self.env))
        for backup in self:
            kind = kinds.get(backup.kind, "")
            if backup.state in ("requested", "published"):
                kind = self.env._("Request: %s", kind[:1].lower() + kind[1:])
            backup.display_name = backup.name or kind

    @api.depends("user_id", "requested_by")
    @api.depends_context("lang")
    def _compute_requester(self):
        people = self.env["res.users"].sudo().with_context(active_test=False)
        names = {
            user.login: user.name
            for user in people.search([("login", "in", self.mapped("requested_by"))])
        }
        for backup in self:
            who = backup.requested_by or ""
            if backup.user_id or who in names:
                backup.requester = backup.user_id.name or names[who]
            elif who == "schedule":
                backup.requester = self.env._("By itself, each night")
            elif who.startswith(PROGRAM):
                backup.requester = self.env._("A program (%s)", who.removeprefix(PROGRAM))
            else:
                backup.requester = who

    @api.depends("size_bytes")
    @api.depends_context("lang")
    def _compute_size(self):
        for backup in self:
            backup.size = _readable(self.env, backup.size_bytes)

    @api.depends("state", "error", "attempts", "next_attempt_at", "published_at", "drill")
    @api.depends_context("lang", "tz", "uid")
    def _compute_explanation(self):
        for backup in self:
            backup.explanation = explain(backup)

    # In the request of who asks

    @api.model
    def _ask(self, kind, note):
        """Write down a request; it leaves after the commit, so that nobody waits for a broker.

        Raises:
            AccessError: the user is no platform administrator.
            UserError: another request waits.
        """
        if not self.env.user.has_group(f"{MODULE}.group_platform_administrator"):
            raise AccessError(self.env._("Only platform administrators ask for backups."))
        if self.env["ir.config_parameter"].sudo().get_param("database.is_neutralized"):
            raise UserError(self.env._("This database is a copy, which is not backed up."))
        now = fields.Datetime.now()
        if waiting := self.sudo().search(
            [
                ("state", "in", ("requested", "published")),
                ("moment", ">", now - timedelta(hours=PATIENCE_H)),
            ],
            limit=1,
        ):
            raise UserError(
                self.env._(
                    "A backup was asked for already, by %s. Wait until it begins, then ask again.",
                    waiting.requester,
                )
            )
        backup = self.sudo().create(
            {
                "request_id": str(uuid.uuid4()),
                "moment": now,
                "kind": kind,
                "note": note,
                "user_id": self.env.uid,
                "requested_by": self.env.user.login,
                "database": self.env.cr.dbname,
            }
        )
        self.env.ref(f"{MODULE}.cron_publish").sudo()._trigger()
        return backup.sudo(False)

    def action_open_url(self):
        """Show the file where it lies."""
        self.ensure_one()
        if not self.url:
            raise UserError(self.env._("This backup is not stored yet."))
        return {"type": "ir.actions.act_url", "url": self.url, "target": "new"}

    # In the scheduler

    @api.model
    def _cron_publish(self):
        """Send the requests that are due; killed at any time, this sends at most one twice."""
        cron = self.env["ir.cron"]
        due = self.search(
            [
                ("state", "=", "requested"),
                "|",
                ("next_attempt_at", "=", False),
                ("next_attempt_at", "<=", fields.Datetime.now()),
            ],
            order="id",
        )
        cron._commit_progress(remaining=len(due))
        with Broker(self.env, EXCHANGE, "Odoo: backups") as broker:
            for left, backup in zip(range(len(due) - 1, -1, -1), due, strict=True):
                if backup._lock("requested"):
                    backup._publish(broker)
                if not cron._commit_progress(1, remaining=left):
                    break

    def _lock(self, state):
        """Lock the row, if it is in a state and nobody else is at it."""
        self.env.cr.execute(
            SQL(
                "SELECT 1 FROM clinic_backup WHERE id = %s AND state = %s"
                " FOR NO KEY UPDATE SKIP LOCKED",
                self.id,
                state,
            )
        )
        self.invalidate_recordset()
        return bool(self.env.cr.rowcount)

    def _publish(self, broker):
        body = {
            "request_id": self.request_id,
            "kind": self.kind,
            "note": self.note or "",
            "requested_by": self.requested_by,
        }
        properties = {
            "delivery_mode": 2,
            "content_type": "application/json",
            "message_id": self.request_id,
            "timestamp": int(datetime.now(UTC).timestamp()),
            "type": ROUTING_KEY,
        }
        try:
            broker.publish(ROUTING_KEY, json.dumps(body, ensure_ascii=False).encode(), properties)
        except BrokerError as error:
            _logger.warning("Request %s for a backup is not sent: %s", self.request_id, error)
            tried = self.attempts + 1
            wait = timedelta(seconds=min(MAX_WAIT_S, 5 * 2 ** min(tried, 10)))
            self.write(
                {
                    "attempts": tried,
                    "error": str(error),
                    "next_attempt_at": fields.Datetime.now() + wait,
                }
            )
            return
        self.write(
            {
                "state": "published",
                "attempts": 0,
                "error": False,
                "next_attempt_at": False,
                "published_at": fields.Datetime.now(),
            }
        )

    # What became of it

    @api.model
    def report(self, backups):
        """Keep what Airflow's side reports; the same report twice changes nothing.

        Args:
            backups: for each what docs/reference/backups-in-odoo.md says.

        Returns:
            For each: `backup_id` and `status` (applied, or older where a newer one was applied).

        Raises:
            AccessError: the user is not the service account.
            UserError: a report is not valid (HTTP 422); none is applied.
        """
        if not self.env.user.has_group(f"{MODULE}.group_service"):
            raise AccessError(self.env._("Only the backups' service account reports."))
        if not isinstance(backups, list):
            raise UserError(self.env._("`backups` is a list."))
        try:
            checked = [reports.checked(each) for each in backups]
        except reports.ReportError as error:
            raise UserError(self.env._("A report is not valid: %s.", error)) from error
        rows = self.with_user(SUPERUSER_ID)
        return [
            {"backup_id": values["backup_id"], "status": rows._apply(values)} for values in checked
        ]

    @api.model
    def _apply(self, values):
        at = values.pop("updated_at")
        reported_at = at.isoformat(timespec="microseconds") if at else False
        backup = self.search([("backup_id", "=", values["backup_id"])])
        if not backup and values.get("request_id"):
            backup = self.search([("request_id", "=", values["request_id"])])
            if backup.backup_id:  # the message came twice, and made two backups
                backup = self.browse()
                values.pop("request_id")
        if reported_at and backup.reported_at and reported_at < backup.reported_at:
            return "older"
        values["reported_at"] = reported_at
        if values["taken_at"]:
            values["moment"] = values["taken_at"]
        before = backup.state
        if backup:
            # Whoever asked here is known better than by a name from elsewhere.
            backup.write(
                {**values, "requested_by": backup.requested_by or values["requested_by"],
                 "next_attempt_at": False, "attempts": 0}
            )  # fmt: skip
        else:
            backup = self.create({"moment": fields.Datetime.now(), **values})
        if backup.request_id:
            backup._give_up_older()
        if backup.state != before and backup.state in ("stored", "failed"):
            backup._tell_user()
        return "applied"

    def _give_up_older(self):
        """End requests that this one's backup stands for: several may start one run."""
        self.search(
            [
                ("id", "<", self.id),
                ("backup_id", "=", False),
                ("state", "=", "published"),
            ]
        ).write({"state": "failed", "error": f"The backup of request {self.request_id} came."})

    def _tell_user(self):
        user = self.user_id
        if not user.active:
            return
        backup = self.with_context(lang=user.lang, tz=user.tz)
        stored = backup.state == "stored"
        user.partner_id._bus_send(
            "simple_notification",
            {
                "type": "success" if stored else "danger",
                "title": backup.env._("The backup is stored")
                if stored
                else backup.env._("The backup failed"),
                "message": backup.display_name if stored else backup.explanation,
                "sticky": not stored,
            },
        )


def _readable(env, size_bytes):
    if not size_bytes:
        return False
    size, unit = size_bytes, "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{formatLang(env, size, digits=0 if unit == 'B' or size >= 100 else 1)} {unit}"
