"""Alerts, wired to Airflow's connections."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import Connection, conf
from clinic.alerts import direct
from clinic.alerts import settings as alert_settings
from clinic.alerts.collect import look, take_reports, watch
from clinic.alerts.message import Renderer
from clinic.alerts.model import Alert, Severity
from clinic.alerts.outage import Kind, Outage
from clinic.alerts.report import read_all
from clinic.alerts.send import Channel, Delivery, Sender
from clinic.alerts.words import shortened
from clinic.clients.airflow_db import AirflowDb
from clinic.clients.alerts_db import AlertsDb
from clinic.clients.webhook import WebhookClient
from clinic.documents.mail import Mail, UncertainError
from clinic.errors import ClinicError, PermanentError, TransientError
from psycopg.conninfo import make_conninfo

from clinic_airflow import failures, lookup
from clinic_airflow.hooks.odoo import OdooHook
from clinic_airflow.hooks.shared_db import SharedDbHook

if TYPE_CHECKING:
    from clinic.backups.check import Breach
    from clinic.clients.mail import SmtpMailer
    from clinic.clients.odoo import OdooClient

logging.getLogger("httpx").setLevel(logging.WARNING)

log = logging.getLogger(__name__)

METADATA: Final = "airflow_metadata"
ODOO: Final = "odoo_alerts"
WEBHOOK: Final = "clinic_alert_webhook"


def raise_breaches(breaches: Sequence[Breach], source: str) -> None:
    """Make an alert of each breach, and resolve what ``source`` found once and no longer finds.

    Each breach is an outage of its own, for each has something else to be done about it.

    Raises:
        TransientError: The shared database stayed away.
        PermanentError: A person has to change something.
    """
    now = datetime.now(UTC)
    with closing(AlertsDb(SharedDbHook().conninfo())) as ledger:
        for breach in breaches:
            alert = Alert(
                key=breach.key,
                cause=breach.key,
                severity=Severity(breach.severity),
                title=shortened(breach.title, 120),
                detail=shortened(breach.detail),
                runbook=breach.runbook,
            )
            ledger.raise_alert(alert, source, now)
        ledger.resolve_others(source, [breach.key for breach in breaches], now)


def send_alerts() -> dict[str, object]:
    """Find out what is wrong, and tell people what they have to know.

    Every part does its work whatever became of the others; the first error is raised at the end.

    Raises:
        TransientError: Airflow's database or the shared one stayed away. In the second case the
            outage was mailed directly.
        PermanentError: A person has to change something.
    """
    now = datetime.now(UTC)
    troubles = Troubles()
    with ExitStack() as stack:
        # Not caught: what only could not be looked up must not pass for a channel taken away.
        said = lookup.variable(alert_settings.NAME)
        settings = troubles.catch(lambda: alert_settings.parse_settings(said))
        settings = settings or alert_settings.Settings()
        renderer = Renderer(settings, conf.get("api", "base_url", fallback=""))
        channels = _channels(stack, settings, renderer)
        ledger = stack.enter_context(closing(AlertsDb(SharedDbHook().conninfo())))
        try:
            ledger.become_sender()
        except ClinicError as error:
            if "another process" not in str(error):
                _mail_directly(error, settings, channels, now)
            raise
        others = [(name, target) for name, one in channels.items() for target in one.targets]
        direct.take_over(ledger, _note_file(), others, now)
        take_reports(ledger, failures.folder())
        troubles.catch(lambda: _knock(ledger, now))
        troubles.catch(lambda: _look(ledger, now))
        summary = Sender(ledger, channels).run(now)
        ledger.forget_old(now)
    troubles.raise_first()
    return summary.as_dict()


class Troubles:
    """Keeps what went wrong in one part while the others go on."""

    def __init__(self) -> None:
        self._errors: list[ClinicError] = []

    def catch[T](self, call: Callable[[], T]) -> T | None:
        """Return what a call returns, or None when it failed."""
        try:
            return call()
        except ClinicError as error:
            log.warning("%s", error)
            self._errors.append(error)
            return None

    def raise_first(self) -> None:
        """Raise what went wrong first, if anything did."""
        if self._errors:
            raise self._errors[0]


def _knock(ledger: AlertsDb, now: datetime) -> None:
    """Find out whether the broker answers: for an hour no task would say so.

    What waits for a message waits for the broker too, and fails of neither.
    """
    from pika.exceptions import AMQPError

    from clinic_airflow.documents import BROKER, broker_connection

    if lookup.connection(BROKER) is None:
        return
    trouble: ClinicError | None = None
    try:
        with suppress(AMQPError):  # it answered, and that is all that is asked
            broker_connection().close()
    except ClinicError as error:
        trouble = error
    watch(ledger, "broker", "RabbitMQ", trouble, now)


def _look(ledger: AlertsDb, now: datetime) -> int:
    connection = lookup.connection(METADATA)
    if connection is None:
        raise PermanentError(
            f"Looking for failed tasks: there is no connection {METADATA!r}. Add it under Admin, "
            "Connections: Airflow's own database."
        )
    conninfo = make_conninfo(
        host=connection.host,
        port=connection.port or 5432,
        user=connection.login,
        password=connection.password,
        dbname=connection.schema,
    )
    with closing(AirflowDb(conninfo)) as airflow:
        return look(ledger, airflow, now)


# Channels


def _channels(
    stack: ExitStack, settings: alert_settings.Settings, renderer: Renderer
) -> dict[str, Channel]:
    """Return the channels that this installation has, by name."""
    channels: dict[str, Channel] = {}
    if settings.emails:
        channels["email"] = stack.enter_context(closing(EmailChannel(settings.emails, renderer)))
    if lookup.connection(ODOO) is not None:
        channels["odoo"] = stack.enter_context(closing(OdooChannel(renderer)))
    webhook = lookup.connection(WEBHOOK)
    if webhook is not None:
        channels["webhook"] = stack.enter_context(closing(WebhookChannel(webhook, renderer)))
    if not channels:
        log.warning(
            "nobody is told of alerts: there are no addresses in the Variable %s, and neither of "
            "the connections %s and %s",
            alert_settings.NAME,
            ODOO,
            WEBHOOK,
        )
    return channels


class EmailChannel:
    """Writes to people, one mail each. The same message to the same person has the same id."""

    cause = "mail"

    def __init__(self, emails: tuple[str, ...], renderer: Renderer) -> None:
        self.targets = emails
        self._renderer = renderer
        self._mailer: SmtpMailer | None = None

    def send(self, delivery: Delivery, outage: Outage) -> None:
        """Send a mail; see :class:`clinic.alerts.send.Channel`."""
        self.write(delivery.target, delivery.message_id, outage, delivery.kind, delivery.created_at)

    def write(
        self, address: str, message_id: str, outage: Outage, kind: Kind, at: datetime
    ) -> None:
        """Send a mail to one person."""
        # Not at the top: most runs send nothing.
        from clinic_airflow.documents import mailer

        message = self._renderer.render(outage, kind, at)
        mail = Mail(
            notification_id=message_id,
            to=address,
            name="",
            lang="es_ES",
            subject=message.subject,
            body_text=message.text,
            kept_in=f"the Airflow Variable {alert_settings.NAME}",
            dated=at,
        )
        try:
            self._mailer = self._mailer or mailer()
            self._mailer.send(mail)
        except UncertainError as error:
            # Told twice is better than not told; by its Message-ID it is the same mail.
            raise TransientError(str(error)) from error

    def close(self) -> None:
        """Let go of the connection."""
        if self._mailer is not None:
            self._mailer.close()


class OdooChannel:
    """Makes and closes activities of Odoo's platform administrators. Odoo knows an outage by id."""

    cause = "odoo"
    targets = ("",)

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._client: OdooClient | None = None

    def send(self, delivery: Delivery, outage: Outage) -> None:
        """Tell Odoo; see :class:`clinic.alerts.send.Channel`."""
        self._client = self._client or OdooHook(ODOO).get_conn()
        message = self._renderer.render(outage, delivery.kind, delivery.created_at)
        self._client.call(
            "clinic.alert",
            "notify",
            outage_id=outage.outage_id,
            kind=delivery.kind.value,
            severity=outage.severity.value,
            summary=message.subject,
            text=message.text,
            link=message.link,
        )

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()


class WebhookChannel:
    """Calls one address, signed; a message sent again has the same id."""

    cause = "webhook"
    targets = ("",)

    def __init__(self, connection: Connection, renderer: Renderer) -> None:
        self._connection = connection
        self._renderer = renderer
        self._client: WebhookClient | None = None

    def send(self, delivery: Delivery, outage: Outage) -> None:
        """Call the address; see :class:`clinic.alerts.send.Channel`."""
        if self._client is None:
            extra: dict[str, Any] = self._connection.extra_dejson
            self._client = WebhookClient(
                self._connection.host or "",
                self._connection.password or "",
                allow_private=extra.get("allow_private") is True,
                timeout_s=float(extra.get("timeout_s") or 10),
            )
        message = self._renderer.render(outage, delivery.kind, delivery.created_at)
        self._client.send(delivery.message_id, message.payload)

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()


# Without the shared database


def _note_file() -> Path:
    return failures.folder().parent / "alerts-direct.json"


def _mail_directly(
    error: ClinicError,
    settings: alert_settings.Settings,
    channels: dict[str, Channel],
    now: datetime,
) -> None:
    """Mail that the shared database is down, and nothing else: only mails need no ledger."""
    email = channels.get("email")
    if not isinstance(email, EmailChannel):
        return
    reports = [found for _, found in read_all(failures.folder()) if found is not None]

    told = direct.tell_directly(_note_file(), error, reports, settings.emails, email.write, now)
    log.warning("the shared database is down; told by mail: %d", told)
