"""E-mail by SMTP (RFC 5321), one recipient at a time, so that each outcome is known by itself."""

from __future__ import annotations

import contextlib
import hashlib
import smtplib
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from clinic.documents.mail import Mail, UncertainError, masked
from clinic.errors import PermanentError, TransientError


class SmtpMailer:
    """Sends mails over one connection, opened when first needed and again when it was lost.

    Args:
        connect: Opens a connection, logged in.
        sender: The address that mails come from.
    """

    def __init__(self, connect: Callable[[], smtplib.SMTP], sender: str) -> None:
        self._connect = connect
        self._sender = sender
        self._client: smtplib.SMTP | None = None
        self._is_sending = False

    def send(self, mail: Mail) -> None:
        """Hand a mail over to the mail server; see :class:`clinic.documents.mail.Mailer`."""
        self._is_sending = True
        try:
            self._send(mail)
        finally:
            self._is_sending = False

    def _send(self, mail: Mail) -> None:
        content = compose(mail, self._sender).as_bytes(policy=SMTP)
        doing = f"E-mail about notification {mail.notification_id} to {masked(mail.to)}"
        try:
            client = self._open()
            _expect(doing, client.mail(self._sender), sender=True)
            _expect(doing, client.rcpt(mail.to), kept_in=mail.kept_in)
        except (OSError, smtplib.SMTPException) as error:  # an SMTPException is an OSError too
            self._drop()
            raise TransientError(
                f"{doing}: {_said(error)}. It was not sent; trying again may help. Is the mail "
                "server up, and is the connection smtp_default right?"
            ) from error
        except (TransientError, PermanentError):
            self._reset()
            raise
        self._hand_over(client, doing, content)

    def _hand_over(self, client: smtplib.SMTP, doing: str, content: bytes) -> None:
        try:
            answer = client.data(content)
        except smtplib.SMTPDataError as error:  # refused before any of it was sent
            answer = error.smtp_code, _bytes(error.smtp_error)
        except (OSError, smtplib.SMTPException) as error:
            self._drop()
            raise UncertainError(
                f"{doing}: {_said(error)} while the mail server was taking it. It may have "
                "arrived, so that it is not sent again."
            ) from error
        try:
            _expect(doing, answer)
        except (TransientError, PermanentError):
            self._reset()
            raise

    def close(self) -> None:
        """Let go of the connection; that of a send that hangs in another thread is cut."""
        client = self._client
        if client is not None and self._is_sending:
            if client.sock is not None:
                with contextlib.suppress(OSError):
                    client.sock.shutdown(socket.SHUT_RDWR)
            return
        self._drop()

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                client.quit()
            client.close()

    def _open(self) -> smtplib.SMTP:
        if self._client is None:
            self._client = self._connect()
            self._client.ehlo_or_helo_if_needed()
        return self._client

    def _reset(self) -> None:
        """Make the connection ready for the next mail, or drop it."""
        try:
            if self._client is not None:
                self._client.rset()
        except (OSError, smtplib.SMTPException):
            self._drop()


def compose(mail: Mail, sender: str) -> EmailMessage:
    """Return the mail as a message. Made twice, it has the same Message-ID (RFC 5322, 3.6.4).

    Raises:
        PermanentError: An address or the subject cannot stand in a mail.
    """
    try:
        mail.to.encode("ascii")
        message = EmailMessage(policy=SMTP)
        message["From"] = sender
        message["To"] = Address(display_name=mail.name, addr_spec=mail.to)
        message["Subject"] = mail.subject
        message["Date"] = mail.dated or datetime.now(UTC)
        message["Message-ID"] = message_id(mail, sender)
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    except (ValueError, HeaderParseError, IndexError) as error:
        raise PermanentError(
            f"E-mail about notification {mail.notification_id}: the address "
            f"{masked(mail.to[:200])!r} or the subject cannot be used. Correct the address in "
            f"{mail.kept_in}."
        ) from error
    message.set_content(mail.body_text)  # drops every Content- header there was
    message["Content-Language"] = mail.lang.replace("_", "-")
    return message


def message_id(mail: Mail, sender: str) -> str:
    """Return the mail's Message-ID: of this notification to this person, always the same."""
    whom = hashlib.sha256(mail.to.lower().encode()).hexdigest()[:16]
    return f"<{mail.notification_id}.{whom}@{sender.rpartition('@')[2] or 'clinic.invalid'}>"


def _expect(
    doing: str, answer: tuple[int, bytes], *, sender: bool = False, kept_in: str = "Odoo"
) -> None:
    """Raise what a reply means that is not yes (RFC 5321, 4.2.1: 4 for now, 5 for good)."""
    code, text = answer
    if 200 <= code < 300:
        return
    said = f"{doing}: the mail server answered {code} ({_text(text)})."
    if sender:  # a fault of the installation, not of this mail
        raise TransientError(f"{said} Correct from_email in the connection smtp_default.")
    if 500 <= code < 600 and text.startswith(b"5.7."):
        # A matter of policy, such as a relay that does not know us (RFC 3463, 3.8): every mail's.
        raise TransientError(
            f"{said} It does not let the clinic send: correct the connection smtp_default."
        )
    if 500 <= code < 600:
        raise PermanentError(f"{said} Trying again cannot help: correct the address in {kept_in}.")
    raise TransientError(f"{said} It was not sent; trying again may help.")


def _said(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} ({_text(_bytes(error.smtp_error))})"
    return str(error) or type(error).__name__


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _text(text: bytes) -> str:
    return masked(text.decode(errors="replace").split("\n")[0].strip()[:200])
