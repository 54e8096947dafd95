"""Whom a mail was for stands in no log."""

import smtplib

import pytest
from clinic.clients.mail import SmtpMailer
from clinic.documents.mail import Mail, masked
from clinic.errors import ClinicError


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
    """A mail server that repeats what it refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.helo_resp = self.ehlo_resp = b"ok"

    def docmd(self, cmd: str, args: str = "") -> tuple[int, bytes]:
        if cmd.lower().startswith("rcpt"):
            return 550, args.encode()
        return 250, b"ok"

    def putcmd(self, cmd: str, args: str = "") -> None:
        self.answer = (550, args.encode()) if cmd.lower() == "rcpt" else (250, b"ok")

    def getreply(self) -> tuple[int, bytes]:
        return self.answer


@pytest.mark.parametrize("to", ["ana.nunez@clinica.example", "ana.nunez@clinica\n.example"])
def test_no_error_about_a_mail_names_its_person(to: str) -> None:
    mail = Mail("n1", to, "Ana Núñez", "es_ES", "Hola", "Texto")
    with pytest.raises(ClinicError) as raised:
        SmtpMailer(Refusing, "clinica@clinica.example").send(mail)
    assert "nunez" not in str(raised.value)
