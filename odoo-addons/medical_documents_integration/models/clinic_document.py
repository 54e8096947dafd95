"""Documents: the outbox towards the document store, and the page that shows what became of them."""

import hashlib
import logging
import uuid
from datetime import UTC, datetime, timedelta

import psycopg2
from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError
from odoo.tools import SQL

from ..publisher.broker import Broker, BrokerError
from ..publisher.message import (
    ROUTING_KEYS,
    MessageError,
    content_path,
    encode,
    file_name,
    properties,
)
from .clinic_document_source import NotNowError

_logger = logging.getLogger(__name__)

MODULE = "medical_documents_integration"
MAX_RENDERINGS = 8
MAX_WAIT_S = 300
_EVENTS = {"stored", "retrying", "parked"}


class ClinicDocument(models.Model):
    """One revision of one document. Its bytes never change once it was rendered."""

    _name = "clinic.document"
    _description = "Clinical document"
    _inherit = ("mail.thread", "mail.activity.mixin")
    _order = "id desc"
    _rec_name = "number"

    document_id = fields.Char("Identifier", required=True, readonly=True, index=True)
    revision = fields.Integer(required=True, readonly=True, default=1, aggregator=None)
    document_type = fields.Selection(
        [("invoice", "Invoice"), ("medical_record", "Medical record")],
        "Type",
        required=True,
        readonly=True,
    )
    res_model = fields.Char("Source model", required=True, readonly=True)
    res_id = fields.Many2oneReference(
        "Source", model_field="res_model", required=True, readonly=True, index=True
    )
    number = fields.Char(required=True, readonly=True)
    title = fields.Char(required=True, readonly=True)
    date = fields.Date(required=True, readonly=True)
    company_id = fields.Many2one("res.company", required=True, readonly=True, index=True)
    patient_id = fields.Many2one("res.partner", readonly=True, index="btree_not_null")
    user_id = fields.Many2one("res.users", "Made by", readonly=True)
    state = fields.Selection(
        [
            ("pending", "To send"),
            ("published", "Sent"),
            ("retrying", "Trying again"),
            ("stored", "Stored"),
            ("parked", "Set aside"),
        ],
        required=True,
        readonly=True,
        default="pending",
        index=True,
    )
    error = fields.Text(readonly=True)
    attempts = fields.Integer("Failed attempts to send", readonly=True, default=0, aggregator=None)
    renderings = fields.Integer("Attempts to render", readonly=True, default=0, aggregator=None)
    next_attempt_at = fields.Datetime("Next attempt", readonly=True)
    attachment_id = fields.Many2one(
        "ir.attachment", "File", readonly=True, ondelete="restrict", index="btree_not_null"
    )
    file_name = fields.Char(readonly=True)
    size_bytes = fields.Integer("Size (bytes)", readonly=True, aggregator=None)
    sha256 = fields.Char("SHA-256", readonly=True)
    rendered_at = fields.Datetime("Rendered on", readonly=True)
    published_at = fields.Datetime("Sent on", readonly=True)
    stored_at = fields.Datetime("Stored on", readonly=True)
    store = fields.Char(readonly=True)
    url = fields.Char("Address", readonly=True)
    event_number = fields.Integer(readonly=True, default=0, aggregator=None)
    notification_ids = fields.One2many(
        "clinic.document.notification", "document_id", "Notifications", readonly=True
    )

    _revision_unique = models.Constraint(
        "UNIQUE (document_id, revision)", "This revision of the document is there already."
    )
    _source_unique = models.Constraint(
        "UNIQUE (res_model, res_id, revision)", "This revision of the record is there already."
    )
    _due = models.Index("(next_attempt_at, id) WHERE state = 'pending'")

    @api.depends("number", "revision")
    def _compute_display_name(self):
        for document in self:
            document.display_name = (
                document.number
                if document.revision == 1
                else self.env._(
                    "%(number)s (revision %(revision)s)",
                    number=document.number,
                    revision=document.revision,
                )
            )

    # In the user's transaction

    @api.model
    def _put(self, source):
        """Write a record's document into the outbox.

        A revision that was never rendered is taken again: nobody has seen it. If the publisher
        holds it just now, it may be rendering what the record was before, so a new one is made.
        """
        values = {**source._document_values(), "user_id": self.env.uid}
        newest = self._newest(source) or self._newest(source._document_predecessor())
        if newest and newest._source() == source and newest._take_unrendered():
            newest.write(
                {**values, "state": "pending", "error": False, "attempts": 0, "renderings": 0,
                 "next_attempt_at": False}
            )  # fmt: skip
            return newest
        return self.create(
            {
                **values,
                "document_id": newest.document_id or str(uuid.uuid4()),
                "revision": newest.revision + 1,
                "res_model": source._name,
                "res_id": source.id,
            }
        )

    @api.model
    def _newest(self, source):
        return self.search(
            [("res_model", "=", source._name), ("res_id", "in", source.ids)],
            order="revision desc",
            limit=1,
        )

    def _take_unrendered(self):
        self.flush_recordset(["attachment_id"])
        self.env.cr.execute(
            SQL(
                "SELECT 1 FROM clinic_document WHERE id = %s AND attachment_id IS NULL"
                " FOR NO KEY UPDATE SKIP LOCKED",
                self.id,
            )
        )
        return bool(self.env.cr.rowcount)

    def _source(self):
        """The invoice or medical record; empty if it is gone."""
        self.ensure_one()
        if self.res_model not in self.env:
            return self.env["clinic.document"]
        return self.env[self.res_model].browse(self.res_id).exists()

    def action_send_again(self):
        """Send documents once more, whatever became of them before.

        Raises:
            AccessError: the user does not manage documents.
        """
        if not self.env.su and not self.env.user.has_group(f"{MODULE}.group_manager"):
            raise AccessError(self.env._("Only managers of documents send them again."))
        self.check_access("read")
        for document in self.sudo():
            # What the other side told last is told once more, under its old number.
            document.write(
                {"state": "pending", "error": False, "attempts": 0, "renderings": 0,
                 "next_attempt_at": False, "event_number": 0}
            )  # fmt: skip
            document.message_post(body=self.env._("Sent again by %s.", self.env.user.name))
        self.env.ref(f"{MODULE}.cron_publish").sudo()._trigger()
        return True

    def action_open_source(self):
        """Show the invoice or the medical record."""
        self.ensure_one()
        return {
            "type": "ir.actions.act_window",
            "res_model": self.res_model,
            "res_id": self.res_id,
            "views": [(False, "form")],
        }

    def action_open_url(self):
        """Show the document where it is stored."""
        self.ensure_one()
        if not self.url:
            raise UserError(self.env._("The document is not stored yet."))
        return {"type": "ir.actions.act_url", "url": self.url, "target": "new"}

    def action_open_pdf(self):
        """Show the document as Odoo keeps it."""
        self.ensure_one()
        return {
            "type": "ir.actions.act_url",
            "url": f"/clinic/documents/{self.id}/view",
            "target": "new",
        }

    # In the scheduler

    @api.model
    def _cron_publish(self):
        """Render and publish what is due, a document at a time.

        A document's row is locked while it is worked on, so that two schedulers share the work, and
        each step is committed: killed at any time, this loses nothing and sends at most one message
        twice. Attempts to render are counted before they begin, for one that kills the process.
        """
        cron = self.env["ir.cron"]
        due = self._due_ids()
        cron._commit_progress(remaining=len(due))
        reachable = True
        with Broker() as broker:
            while due:
                document = self.browse(due.pop(0))
                if document._rendered() and reachable:
                    reachable = document._publish(broker)
                    if reachable and not due:
                        due = self._waiting_for_broker_ids()
                elif not reachable:
                    document._postpone_unsent()
                if not cron._commit_progress(1, remaining=len(due)):
                    break

    @api.model
    def _due_ids(self):
        self.env.cr.execute(
            SQL(
                "SELECT id FROM clinic_document WHERE state = 'pending'"
                " AND (next_attempt_at IS NULL OR next_attempt_at <= %s) ORDER BY id LIMIT 1000",
                fields.Datetime.now(),
            )
        )
        return [row_id for (row_id,) in self.env.cr.fetchall()]

    @api.model
    def _waiting_for_broker_ids(self):
        """What need wait no longer, now that the broker answers."""
        self.env.cr.execute(
            "SELECT id FROM clinic_document WHERE state = 'pending' AND attempts > 0"
            " AND attachment_id IS NOT NULL ORDER BY id LIMIT 1000"
        )
        return [row_id for (row_id,) in self.env.cr.fetchall()]

    def _lock_pending(self):
        """Lock the row, if it is still to be sent and nobody else is at it."""
        self.env.cr.execute(
            SQL(
                "SELECT 1 FROM clinic_document WHERE id = %s AND state = 'pending'"
                " FOR NO KEY UPDATE SKIP LOCKED",
                self.id,
            )
        )
        self.invalidate_recordset()
        return bool(self.env.cr.rowcount)

    def _rendered(self):
        """Render the document unless it is; say whether there is something to publish."""
        self.ensure_one()
        if not self._lock_pending():
            return False
        if self.attachment_id:
            return True
        try:
            self._count_rendering()
            if not self._lock_pending():
                return False
            self._fix(self._for_author()._render())
            self.env.cr.commit()
        except psycopg2.errors.SerializationFailure:
            self.env.cr.rollback()  # somebody worked on the record meanwhile
            return False
        except Exception as error:  # noqa: BLE001 - whatever a report raises, the others go on
            self.env.cr.rollback()
            self._note_rendering_failure(error)
            return False
        return True

    def _count_rendering(self):
        tried = self.renderings + 1
        self.write({"renderings": tried, "next_attempt_at": _in_seconds(10 * 2**tried)})
        self.env.cr.commit()

    def _render(self):
        source = self._source().sudo()
        if not source:
            raise UserError(self.env._("The record that the document shows was deleted."))
        newer = self.search_count(
            [
                ("res_model", "=", self.res_model),
                ("res_id", "=", self.res_id),
                ("revision", ">", self.revision),
            ],
            limit=1,
        )
        if newer:  # what was meant here cannot be shown any more
            raise UserError(self.env._("A newer revision has taken this one's place."))
        source = source.with_company(self.company_id).with_context(
            lang=source.env.user.lang, allowed_company_ids=self.company_id.ids
        )
        content = source._render_document()
        if not content or not content.startswith(b"%PDF-"):
            raise UserError(self.env._("The report gave no PDF; is wkhtmltopdf installed?"))
        return content

    def _fix(self, content):
        name = file_name(self.number)
        # Of no record: only this module hands it out, to whom may read the document's source.
        attachment = self.env["ir.attachment"].create(
            {"name": name, "raw": content, "mimetype": "application/pdf"}
        )
        self.write(
            {
                "attachment_id": attachment.id,
                "file_name": name,
                "size_bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "rendered_at": fields.Datetime.now(),
                "next_attempt_at": False,
                "error": False,
            }
        )

    def _note_rendering_failure(self, error):
        if not self._lock_pending():
            return
        _logger.warning("%s cannot be rendered: %s", self.display_name, type(error).__name__)
        values = {"error": str(error) or type(error).__name__}
        if isinstance(error, NotNowError):
            values.update(renderings=0, next_attempt_at=_in_seconds(MAX_WAIT_S))
        self.write(values)
        if self.renderings >= MAX_RENDERINGS:
            self.write({"state": "parked", "next_attempt_at": False})
            self._tell_parked()
        self.env.cr.commit()

    def _publish(self, broker):
        """Publish; say whether the broker took it, or could have."""
        if not self._lock_pending():
            return True
        try:
            body = self._message()
            broker.publish(
                ROUTING_KEYS[self.document_type],
                encode(body),
                properties(body, self.env.cr.dbname, datetime.now(UTC)),
            )
        except MessageError as error:
            _logger.warning("%s makes no valid message: %s", self.display_name, error)
            self.write({"state": "parked", "error": str(error), "next_attempt_at": False})
            self._tell_parked()
        except BrokerError as error:
            _logger.warning("%s is not sent: %s", self.display_name, error)
            self._postpone(self._for_author()._broker_sentence(error))
            self.env.cr.commit()
            return False
        else:
            self.write(
                {
                    "state": "published",
                    "error": False,
                    "attempts": 0,
                    "next_attempt_at": False,
                    "published_at": fields.Datetime.now(),
                }
            )
        self.env.cr.commit()
        return True

    def _postpone(self, reason):
        tried = self.attempts + 1
        wait_s = min(MAX_WAIT_S, 5 * 2 ** min(tried, 10))
        self.write({"attempts": tried, "error": reason, "next_attempt_at": _in_seconds(wait_s)})

    def _postpone_unsent(self):
        """Show on a document that others of this run found the broker gone."""
        if self._lock_pending() and self.attachment_id:
            self._postpone(
                self._for_author().env._("The broker does not answer; it is tried again by itself.")
            )
            self.env.cr.commit()

    def _for_author(self):
        """Return the document in the language of whom its errors are shown to."""
        return self.with_context(lang=self.user_id.lang)

    def _broker_sentence(self, error):
        detail = error.detail
        return {
            "no_queue": self.env._("No queue of the broker takes %s.", detail),
            "full": self.env._("The broker's queue is full."),
            "unreachable": self.env._("The broker cannot be reached: %s", detail),
            "no_address": self.env._("Odoo was started without %s, the broker's address.", detail),
            "bad_address": self.env._("%s is no AMQP address.", detail),
        }[error.problem]

    def _message(self):
        """The message's body, as docs/reference/messages/document.schema.json says."""
        self.ensure_one()
        return {
            "document_id": self.document_id,
            "document_type": self.document_type,
            "patient_id": self.patient_id.id or None,
            "file_path": content_path(self.document_id, self.revision),
            "metadata": {
                "revision": self.revision,
                "number": self.number[:200],
                "date": self.date.isoformat(),
                "file_name": self.file_name,
                "content_type": "application/pdf",
                "size_bytes": self.size_bytes,
                "sha256": self.sha256,
                "company": self.company_id.name[:200],
                "title": self.title[:300],
            },
        }

    # What became of it

    @api.model
    def notify(self, notifications):
        """Apply what the document store's side tells, each notification once.

        Args:
            notifications: bodies of `notification.send` messages, flattened.

        Returns:
            For each: `notification_id`, `status` (applied, duplicate, unknown_document) and the
            `emails` to send for it.

        Raises:
            AccessError: the user is not the service account.
            UserError: a notification is not valid (HTTP 422); none is applied.
        """
        if not self.env.user.has_group(f"{MODULE}.group_service"):
            raise AccessError(self.env._("Only the documents' service account notifies."))
        if not isinstance(notifications, list):
            raise UserError(self.env._("`notifications` is a list."))
        return [self.sudo()._apply(notification) for notification in notifications]

    @api.model
    def _apply(self, notification):
        at = self._checked(notification)
        answer = {"notification_id": notification["notification_id"], "emails": []}
        document = self.search(
            [
                ("document_id", "=", notification["document_id"]),
                ("revision", "=", notification["revision"]),
            ]
        )
        if not document:
            return {**answer, "status": "unknown_document"}
        self.env.cr.execute(
            SQL("SELECT 1 FROM clinic_document WHERE id = %s FOR NO KEY UPDATE", document.id)
        )
        document.invalidate_recordset()
        known = self.env["clinic.document.notification"]
        if not known._note(document, notification, at):
            document._apply_again(notification, at)
            first = known.search([("notification_id", "=", notification["notification_id"])])
            # The other side mails each once, but may have died before it heard of them.
            return {**answer, "status": "duplicate", "emails": first.emails or []}
        event = notification["event"]
        document._say_on_source(document._sentence(notification))
        if notification["number"] > document.event_number:
            document.event_number = notification["number"]
            getattr(document, f"_on_{event}")(notification, at)
            if event == "parked":
                document._tell_parked()
            answer["emails"] = document._emails(event, notification)
            first = known.search([("notification_id", "=", notification["notification_id"])])
            first.emails = answer["emails"]
        return {**answer, "status": "applied"}

    def _apply_again(self, notification, at):
        """Set the state that a known notification tells: the answer to what was sent again.

        Nobody hears of it twice. While the document waits to be sent, only what ends that counts.
        """
        event = notification["event"]
        if notification["number"] < self.event_number or (
            self.state == "pending" and event != "stored"
        ):
            return
        self.event_number = notification["number"]
        getattr(self, f"_on_{event}")(notification, at)

    @api.model
    def _checked(self, notification):
        wanted = {"document_id": str, "notification_id": str, "revision": int, "number": int,
                  "event": str, "at": str}  # fmt: skip
        valid = isinstance(notification, dict) and all(
            type(notification.get(name)) is kind for name, kind in wanted.items()
        )
        if not valid or notification["event"] not in _EVENTS:
            raise UserError(
                self.env._("A notification has %s.", ", ".join(f"`{name}`" for name in wanted))
            )
        url = notification.get("url")
        if notification["event"] == "stored" and not (
            isinstance(url, str) and url.startswith(("https://", "http://"))
        ):
            raise UserError(self.env._("`url` of a stored document is a web address."))
        try:
            uuid.UUID(notification["notification_id"])
            return _naive_utc(notification["at"])
        except ValueError as error:
            raise UserError(
                self.env._("`notification_id` is a UUID and `at` an instant.")
            ) from error

    def _on_stored(self, notification, at):
        self.write(
            {
                "state": "stored",
                "url": notification["url"],
                "store": notification.get("store"),
                "stored_at": at,
                "error": False,
                "next_attempt_at": False,
            }
        )
        self.sudo().activity_unlink(["mail.mail_activity_data_todo"])

    def _on_retrying(self, notification, _at):
        next_at = notification.get("next_attempt_at")
        self.write(
            {
                "state": "retrying",
                "error": notification.get("detail") or notification.get("reason"),
                "next_attempt_at": _naive_utc(next_at) if next_at else False,
            }
        )

    def _on_parked(self, notification, _at):
        self.write(
            {
                "state": "parked",
                "error": notification.get("detail") or notification.get("reason"),
                "next_attempt_at": False,
            }
        )

    def _sentence(self, notification):
        event = notification["event"]
        if event == "stored":
            return self.env._("The document %s is stored.", self.display_name)
        reason = notification.get("detail") or notification.get("reason") or "?"
        if event == "retrying":
            return self.env._(
                "The document %(name)s is not stored yet: %(reason)s It is tried again by itself.",
                name=self.display_name,
                reason=reason,
            )
        return self.env._(
            "The document %(name)s could not be stored and was set aside: %(reason)s",
            name=self.display_name,
            reason=reason,
        )

    def _say_on_source(self, sentence):
        source = self._source()
        if source:
            source.sudo().message_post(body=sentence, subtype_xmlid="mail.mt_note")

    def _managers(self):
        group = self.env.ref(f"{MODULE}.group_manager")
        return group.sudo().all_user_ids.filtered(lambda user: user.active and not user.share)

    def _tell_parked(self):
        """Ring for the author and the managers, and give each manager something to do."""
        managers = self._managers()
        summary = self.env._("The document %s could not be stored", self.display_name)
        for user in managers:
            self.activity_schedule(
                "mail.mail_activity_data_todo", summary=summary, note=self.error, user_id=user.id
            )
        for user in managers | self.user_id:
            partner = user.partner_id
            partner._bus_send(
                "simple_notification",
                {"type": "danger", "title": summary, "message": self.error, "sticky": True},
            )
            if user.notification_type == "inbox":
                self.message_notify(partner_ids=partner.ids, subject=summary, body=self.error)

    def _emails(self, event, notification):
        """Whom to mail: by their own preference. No name of a patient is in it."""
        if event == "retrying":
            return []
        users = self.user_id | (self._managers() if event == "parked" else self.user_id)
        wanted = {"parked", "always"} if event == "parked" else {"always"}
        emails = []
        for user in users.filtered(
            lambda user: user.active and user.email and user.clinic_document_email in wanted
        ):
            document = self.with_context(lang=user.lang)
            sentence = document._sentence(notification)
            address = (
                notification.get("url") or f"{self.get_base_url()}/odoo/{self._name}/{self.id}"
            )
            emails.append(
                {
                    "to": user.email,
                    "name": user.name,
                    "lang": user.lang,
                    "subject": document.env._("Document %s", document.display_name)
                    if event == "stored"
                    else document.env._("The document %s could not be stored", self.display_name),
                    "body_text": f"{sentence}\n\n{address}\n",
                }
            )
        return emails


def _in_seconds(seconds):
    return fields.Datetime.now() + timedelta(seconds=seconds)


def _naive_utc(text):
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return at.astimezone(UTC).replace(tzinfo=None)
