"""Whom a mail was for stands in no log."""

import smtplib

import pytest
from clinic.clients.mail import SmtpMailer
from clinic.documents.mail import Mail, masked
from clinic.errors import ClinicError, TransientError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<ana.nunez@clinica.example>: no such user", "<an…@clinica.example>: no such user"),
        ("to a@b.example, then maria@c.example", "to a…@b.example, then ma…@c.example"),
        ("no address", "no address"),
    ],
)
def test_names_in_addresses_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


class Refusing(smtplib.SMTP):
    """A mail server that repeats what it refuses, or says why it refuses everything."""

    def __init__(self, why: bytes = b"") -> None:
        super().__init__()
        self.why = why
        self.helo_resp = self.ehlo_resp = b"ok"

    def docmd(self, cmd: str, args: str = "") -> tuple[int, bytes]:
        if cmd.lower().startswith("rcpt"):
            return 550, self.why or args.encode()
        return 250, b"ok"

    def putcmd(self, cmd: str, args: str = "") -> None:
        refusal = 550, self.why or args.encode()
        self.answer = refusal if cmd.lower() == "rcpt" else (250, b"ok")

    def getreply(self) -> tuple[int, bytes]:
        return self.answer


@pytest.mark.parametrize("to", ["ana.nunez@clinica.example", "ana.nunez@clinica\n.example"])
def test_no_error_about_a_mail_names_its_person(to: str) -> None:
    mail = Mail("n1", to, "Ana Núñez", "es_ES", "Hola", "Texto")
    with pytest.raises(ClinicError) as raised:
        SmtpMailer(Refusing, "clinica@clinica.example").send(mail)
    assert "nunez" not in str(raised.value)


def test_a_server_that_lets_nobody_send_is_not_the_fault_of_an_address() -> None:
    mail = Mail("n1", "ana@clinica.example", "Ana", "es_ES", "Hola", "Texto")
    with pytest.raises(TransientError, match="correct the connection smtp_default"):
        SmtpMailer(lambda: Refusing(b"5.7.1 Relay access denied"), "clinica@clinica.example").send(
            mail
        )
