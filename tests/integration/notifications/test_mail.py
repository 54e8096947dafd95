"""E-mail handed to a real SMTP server, and what is known of one after each kind of failure."""

import smtplib
from collections.abc import Iterator

import pytest
from clinic.clients.mail import SmtpMailer
from clinic.documents.mail import Mail, UncertainError
from clinic.errors import PermanentError, TransientError
from support.mail_server import MailServer, mail_server
from support.processes import free_port

SENDER = "clinica@clinica.example"
MAIL = Mail(
    notification_id="0b9d1c4e-8a55-4c0f-9b4e-0a6f7c1d2e3f",
    to="ana@clinica.example",
    name="Ana Núñez",
    lang="es_ES",
    subject="No se pudo guardar la factura INV/2026/00001",
    body_text="El fichero no coincide con lo que anunció Odoo.\n",
)


@pytest.fixture
def server() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def mailer(server: MailServer) -> Iterator[SmtpMailer]:
    port = server.controller.port
    mailer = SmtpMailer(lambda: smtplib.SMTP("127.0.0.1", port, timeout=10), SENDER)
    yield mailer
    mailer.close()


def test_a_mail_arrives_as_it_was_written(server: MailServer, mailer: SmtpMailer) -> None:
    mailer.send(MAIL)
    ((to, message),) = server.mails
    assert to == MAIL.to
    assert message["To"] == "Ana Núñez <ana@clinica.example>"
    assert message["From"] == SENDER
    assert message["Subject"] == MAIL.subject
    assert message["Content-Language"] == "es-ES"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content().replace("\r\n", "\n") == MAIL.body_text


def test_the_message_id_is_of_the_notification_and_the_person(
    server: MailServer, mailer: SmtpMailer
) -> None:
    mailer.send(MAIL)
    mailer.send(MAIL)
    mailer.send(Mail(MAIL.notification_id, "ben@clinica.example", "Ben", "en_US", "Hi", "Text"))
    ids = [message["Message-ID"] for _, message in server.mails]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith(f"<{MAIL.notification_id}.")
    assert ids[0].endswith("@clinica.example>")


@pytest.mark.parametrize(
    ("reply", "error"), [("550 no such user", PermanentError), ("451 later", TransientError)]
)
def test_a_refused_recipient(
    server: MailServer, mailer: SmtpMailer, reply: str, error: type[Exception]
) -> None:
    server.replies_to_recipient[MAIL.to] = reply
    with pytest.raises(error, match=reply[:3]):
        mailer.send(MAIL)
    del server.replies_to_recipient[MAIL.to]
    mailer.send(MAIL)  # the connection is fit for the next
    assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("reply", "error"), [("554 spam", PermanentError), ("452 disk full", TransientError)]
)
def test_a_refused_content(
    server: MailServer, mailer: SmtpMailer, reply: str, error: type[Exception]
) -> None:
    server.replies_to_data = [reply]
    with pytest.raises(error, match=reply[:3]):
        mailer.send(MAIL)
    mailer.send(MAIL)
    assert len(server.mails) == 1


def test_a_lost_reply_leaves_it_uncertain_and_the_next_mail_goes_out(
    server: MailServer, mailer: SmtpMailer
) -> None:
    server.drops = 1
    with pytest.raises(UncertainError, match="may have arrived"):
        mailer.send(MAIL)
    mailer.send(MAIL)
    assert len(server.mails) == 2


def test_an_absent_server_has_surely_not_sent_it(server: MailServer) -> None:
    ports = [free_port(), server.controller.port]
    mailer = SmtpMailer(lambda: smtplib.SMTP("127.0.0.1", ports.pop(0), timeout=10), SENDER)
    with pytest.raises(TransientError, match="It was not sent"):
        mailer.send(MAIL)
    mailer.send(MAIL)
    assert len(server.mails) == 1
    mailer.close()


@pytest.mark.parametrize(
    ("to", "subject"),
    [("ana@clinica.example\r\nBcc: x@y.example", "Hola"), ("no address", "Hola"), ("á@b", "Hola")],
)
def test_an_impossible_address_is_refused_before_the_server_hears_of_it(
    server: MailServer, mailer: SmtpMailer, to: str, subject: str
) -> None:
    with pytest.raises(PermanentError, match="Correct the address in Odoo"):
        mailer.send(Mail("n1", to, "Ana", "es_ES", subject, "Texto"))
    assert server.mails == []


def test_a_subject_adds_no_header(server: MailServer, mailer: SmtpMailer) -> None:
    with pytest.raises(PermanentError):
        mailer.send(Mail("n1", MAIL.to, "Ana", "es_ES", "Hola\r\nBcc: x@y.example", "Texto"))
    assert server.mails == []
