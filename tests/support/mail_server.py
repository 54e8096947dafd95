"""A real SMTP server for tests, which keeps what it is sent and refuses or dies as told."""

import contextlib
import email
import email.policy
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope, Session
from support.processes import free_port


class MailServer:
    """Keeps mails, by who received them."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, EmailMessage]] = []
        self.replies_to_recipient: dict[str, str] = {}
        self.replies_to_data: list[str] = []
        self.drops = 0
        self.when_asked: Callable[[], None] = lambda: None
        self.when_taken: Callable[[], None] = lambda: None
        self.controller = Controller(self, hostname="127.0.0.1", port=free_port())

    async def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.when_asked()
        if address in self.replies_to_recipient:
            return self.replies_to_recipient[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        if self.replies_to_data:
            return self.replies_to_data.pop(0)
        content = cast(bytes, envelope.content)
        message = email.message_from_bytes(content, policy=email.policy.default)
        self.mails += [(to, cast(EmailMessage, message)) for to in envelope.rcpt_tos]
        self.when_taken()
        if self.drops:  # it has the mail, and the reply is lost
            self.drops -= 1
            server.transport.abort()
        return "250 OK"


@contextlib.contextmanager
def mail_server() -> Iterator[MailServer]:
    """Run a mail server on a port of its own."""
    server = MailServer()
    server.controller.start()
    try:
        yield server
    finally:
        server.controller.stop()
