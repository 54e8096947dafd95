"""An e-mail that tells somebody what became of a document, and what sending one may come to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from clinic.errors import ClinicError

_ADDRESS: Final = re.compile(r"([^\s<>@,;:\"'()]{1,2})[^\s<>@,;:\"'()]*@")


def masked(text: str) -> str:
    """Return a text without the names in its e-mail addresses: logs are read by many.

    >>> masked("<ana.nunez@clinica.example>: no such user")
    '<an…@clinica.example>: no such user'
    """
    return _ADDRESS.sub("\\1…@", text)


class UncertainError(ClinicError):
    """The mail server may have the mail, or not: it did not say. It is not sent again."""


@dataclass(frozen=True, slots=True)
class Mail:
    """One e-mail to one person. Its text comes from Odoo, in that person's language."""

    notification_id: str
    to: str
    name: str
    lang: str
    subject: str
    body_text: str
    kept_in: str = "Odoo"
    """Where somebody corrects the address."""
    dated: datetime | None = None
    """When it was decided; a mail sent again has the same date. None: now."""


class Mailer(Protocol):
    """Sends e-mail."""

    def send(self, mail: Mail) -> None:
        """Hand a mail over to the mail server.

        Raises:
            TransientError: It was surely not sent; later it may be.
            PermanentError: It was refused, and would be again.
            UncertainError: It may have been sent.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...
