"""Documents: the outbox towards the document store, and the page that shows what became of them."""

import hashlib
import logging
import uuid
from datetime import UTC, datetime, timedelta

import psycopg2
from odoo import SUPERUSER_ID, api, fields, models
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
from .clinic_document_source import NotNowError, UnrenderableError, in_language_of
from .sentences import advice, again_at, store_name, why

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
    reason = fields.Char("Reason's code", readonly=True)
    detail = fields.Text("Technical detail", readonly=True, groups=f"{MODULE}.group_manager")
    error = fields.Text("Why it is not stored", compute="_compute_error")
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
    sent_again_at = fields.Datetime("Sent again on", readonly=True)
    sent_again_by_id = fields.Many2one("res.users", "Sent again by", readonly=True)
    stored_at = fields.Datetime("Stored on", readonly=True)
    store = fields.Char("Store's code", readonly=True)
    store_name = fields.Char("Store", compute="_compute_store_name")
    url = fields.Char("Address", readonly=True)
    event_number = fields.Integer(readonly=True, default=0, aggregator=None)
    notification_ids = fields.One2many(
        "clinic.document.notification", "document_id", "What happened", readonly=True
    )

    _revision_unique = models.Constraint(
        "UNIQUE (document_id, revision)", "This revision of the document is there already."
    )
    _source_unique = models.Constraint(
        "UNIQUE (res_model, res_id, revision)", "This revision of the record is there already."
    )
    _due = models.Index("(next_attempt_at, id) WHERE state = 'pending'")

    @api.depends("reason", "state", "next_attempt_at")
    @api.depends_context("lang", "tz", "uid")
    def _compute_error(self):
        manages = not self.env.su and self.env.user.has_group(f"{MODULE}.group_manager")
        for document in self:
            document.error = document._problem(manages)

    @api.depends("store")
    def _compute_store_name(self):
        for document in self:
            document.store_name = store_name(document.store)

    @api.depends("number", "revision")
    @api.depends_context("lang")
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
    def _put(self, sources):
        """Write records' documents into the outbox: all new ones at once, for people wait for it.

        A revision that was never rendered is taken again: nobody has seen it. If the publisher
        holds it just now, it may be rendering what the record was before, so a new one is made.
        """
        shown = sources | sources._document_predecessors()
        newest_of = {
            document.res_id: document  # the last one is the newest
            for document in self.search(
                [("res_model", "=", sources._name), ("res_id", "in", shown.ids)], order="revision"
            )
        }
        new = []
        for source in sources:
            # Everybody reads the same title.
            values = {
                **in_language_of(source, source.company_id)._document_values(),
                "user_id": self.env.uid,
            }
            newest = newest_of.get(source.id)
            if newest and newest._take_unrendered():
                newest.write(
                    {**values, "state": "pending", "reason": False, "detail": False, "attempts": 0,
                     "renderings": 0, "next_attempt_at": False}
                )  # fmt: skip
                continue
            newest = newest or newest_of.get(source._document_predecessors().id, self.browse())
            new.append(
                {
                    **values,
                    "document_id": newest.document_id or str(uuid.uuid4()),
                    "revision": newest.revision + 1,
                    "res_model": source._name,
                    "res_id": source.id,
                }
            )
        # Its making needs no line in its discussion, nor a reader of it: the page says when, and
        # by whom. Whoever posts does not wait for more than the rows.
        self.with_context(tracking_disable=True).create(new)

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
                {"state": "pending", "reason": False, "detail": False, "attempts": 0,
                 "renderings": 0, "next_attempt_at": False, "event_number": 0,
                 "sent_again_at": fields.Datetime.now(), "sent_again_by_id": self.env.uid}
            )  # fmt: skip
            document.notification_ids._happened(document, "sent_again", user=self.env.user)
            all_read = in_language_of(document, document.company_id)
            document.message_post(body=all_read.env._("Sent again by %s.", self.env.user.name))
        self._wake_publisher()
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

    @api.model
    def _wake_publisher(self):
        """Have the publisher run once this transaction is committed."""
        # By its id, which is cached: `env.ref` asks the database whether it still exists.
        cron_id = self.env["ir.model.data"]._xmlid_to_res_id(
            f"{MODULE}.cron_publish", raise_if_not_found=True
        )
        self.env["ir.cron"].sudo().browse(cron_id)._trigger()

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
        with Broker(self.env) as broker:
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
        if self.renderings >= MAX_RENDERINGS:
            # One that fails is parked at once: the last of these ended its process.
            self._note_rendering_failure(UnrenderableError("not_rendered"))
            return False
        try:
            self._count_rendering()
            if not self._lock_pending():
                return False
            self._fix(self._render())
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
            raise UnrenderableError("source_deleted")
        newer = self.search_count(
            [
                ("res_model", "=", self.res_model),
                ("res_id", "=", self.res_id),
                ("revision", ">", self.revision),
            ],
            limit=1,
        )
        if newer:  # what was meant here cannot be shown any more
            raise UnrenderableError("superseded")
        source = (
            in_language_of(source, self.company_id)
            .with_company(self.company_id)
            .with_context(allowed_company_ids=self.company_id.ids)
        )
        content = source._render_document()
        if not content or not content.startswith(b"%PDF-"):
            raise UnrenderableError("not_rendered", "The report gave no PDF: is wkhtmltopdf there?")
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
                "reason": False,
                "detail": False,
            }
        )
        self.notification_ids._happened(self, "made", self.create_date, self.user_id)
        self.notification_ids._happened(self, "rendered")

    def _note_rendering_failure(self, error):
        if not self._lock_pending():
            return
        _logger.warning("%s cannot be rendered: %s", self.display_name, type(error).__name__)
        values = {
            "reason": getattr(error, "reason", "not_rendered"),
            "detail": str(error) or type(error).__name__,
        }
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
                properties(body, self.env.cr.dbname, datetime.now(UTC), self._history()),
            )
        except MessageError as error:
            _logger.warning("%s makes no valid message: %s", self.display_name, error)
            self.write(
                {"state": "parked", "reason": "schema", "detail": str(error),
                 "next_attempt_at": False}
            )  # fmt: skip
            self._tell_parked()
        except BrokerError as error:
            _logger.warning("%s is not sent: %s", self.display_name, error)
            self._postpone(str(error))
            self.env.cr.commit()
            return False
        else:
            self.write(
                {
                    "state": "published",
                    "reason": False,
                    "detail": False,
                    "attempts": 0,
                    "next_attempt_at": False,
                    "published_at": fields.Datetime.now(),
                }
            )
            self.notification_ids._happened(self, "published")
        self.env.cr.commit()
        return True

    def _postpone(self, detail):
        tried = self.attempts + 1
        wait_s = min(MAX_WAIT_S, 5 * 2 ** min(tried, 10))
        self.write(
            {"attempts": tried, "reason": "broker", "detail": detail,
             "next_attempt_at": _in_seconds(wait_s)}
        )  # fmt: skip

    def _postpone_unsent(self):
        """Show on a document that others of this run found the broker gone."""
        if self._lock_pending() and self.attachment_id:
            self._postpone("The broker did not answer for another document of this run.")
            self.env.cr.commit()

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

    def _history(self):
        """What happened so far, for the timeline on the store's side."""
        return {
            "x-made-at": _instant(self.create_date),
            "x-made-by": self.user_id.name,
            "x-rendered-at": _instant(self.rendered_at),
            "x-sent-again-at": _instant(self.sent_again_at),
            "x-sent-again-by": self.sent_again_by_id.name,
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
        # As OdooBot: what is written into discussions is of no program that has a name of its own.
        documents = self.with_user(SUPERUSER_ID)
        return [documents._apply(notification) for notification in notifications]

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
        # While it waits to be sent again, only what ends that counts: an older try is no news.
        waits = document.state == "pending" and notification["event"] != "stored"
        if notification["number"] > document.event_number and not waits:
            event, before = notification["event"], document.state
            document.event_number = notification["number"]
            getattr(document, f"_on_{event}")(notification, at)
            if event == "parked":
                document._tell_parked()
            elif event == "stored" or before != "retrying":  # not at each attempt that fails
                document._say_on_source()
            answer["emails"] = document._emails()
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
                "reason": False,
                "detail": False,
                "next_attempt_at": False,
            }
        )
        self.activity_unlink(["mail.mail_activity_data_todo"])

    def _on_retrying(self, notification, _at):
        next_at = notification.get("next_attempt_at")
        self.write(
            {
                "state": "retrying",
                "reason": notification.get("reason"),
                "detail": notification.get("detail"),
                "next_attempt_at": _naive_utc(next_at) if next_at else False,
            }
        )

    def _on_parked(self, notification, _at):
        self.write(
            {
                "state": "parked",
                "reason": notification.get("reason"),
                "detail": notification.get("detail"),
                "next_attempt_at": False,
            }
        )

    def _problem(self, for_manager=False):
        """Say why the document is not stored, and what comes next; in the context's language.

        Args:
            for_manager: whether who reads it is to do something about it.
        """
        if not self.reason:
            return False
        sentences = [why(self.env, self.reason)]
        if for_manager and (what_to_do := advice(self.env, self.reason)):
            sentences.append(what_to_do)
        if self.state == "parked":
            if not for_manager:
                sentences.append(self.env._("Whoever manages documents was told."))
        elif self.next_attempt_at:
            sentences.append(again_at(self.env, self.next_attempt_at))
        return " ".join(sentences)

    def _headline(self):
        if self.state == "stored":
            return self.env._("The document %s is stored.", self.display_name)
        if self.state == "retrying":
            return self.env._("The document %s is not stored yet.", self.display_name)
        return self.env._("The document %s could not be stored.", self.display_name)

    def _say_on_source(self):
        source = self._source()
        if source:
            # One text for all who read the record.
            all_read = in_language_of(self, self.company_id)
            said = [all_read._headline(), all_read.error]
            source.message_post(body=" ".join(filter(None, said)), subtype_xmlid="mail.mt_note")

    def _managers(self):
        group = self.env.ref(f"{MODULE}.group_manager")
        return group.sudo().all_user_ids.filtered(
            lambda user: (
                user.active
                and not user.share
                and (not self.company_id or self.company_id in user.company_ids)
            )
        )

    def _for_user(self, user):
        return self.with_context(lang=user.lang, tz=user.tz)

    def _tell_parked(self):
        """Say it on the record, ring for author and managers, give managers something to do."""
        self._say_on_source()
        managers = self._managers()
        for user in managers:
            document = self._for_user(user)
            # Quick: without Odoo's own mail, for ours says more and goes by each one's preference.
            document.with_context(mail_activity_quick_update=True).activity_schedule(
                "mail.mail_activity_data_todo",
                summary=document._headline(),
                note=document._problem(for_manager=True),
                user_id=user.id,
            )
        for user in managers | self.user_id:
            document, partner = self._for_user(user), user.partner_id
            headline, error = document._headline(), document._problem(user in managers)
            partner._bus_send(
                "simple_notification",
                {"type": "danger", "title": headline, "message": error, "sticky": True},
            )
            if user.notification_type == "inbox":
                document.message_notify(partner_ids=partner.ids, subject=headline, body=error)

    def _emails(self):
        """Whom to mail: by their own preference. No name of a patient is in it."""
        if self.state == "retrying":
            return []
        parked = self.state == "parked"
        wanted = {"parked", "always"} if parked else {"always"}
        managers = self._managers()
        users = (self.user_id | managers) if parked else self.user_id
        emails = []
        for user in users.filtered(
            lambda user: user.active and user.email and user.clinic_document_email in wanted
        ):
            document = self._for_user(user)
            address = (
                self.url if not parked else f"{self.get_base_url()}/odoo/{self._name}/{self.id}"
            )
            said = [document._headline(), document._problem(user in managers)]
            emails.append(
                {
                    "to": user.email,
                    "name": user.name,
                    "lang": user.lang,
                    "subject": document._headline(),
                    "body_text": f"{' '.join(filter(None, said))}\n\n{address}\n",
                }
            )
        return emails


def _in_seconds(seconds):
    return fields.Datetime.now() + timedelta(seconds=seconds)


def _instant(naive_utc):
    return naive_utc and naive_utc.replace(tzinfo=UTC).isoformat()


def _naive_utc(text):
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return at.astimezone(UTC).replace(tzinfo=None)
