"""What the drain asks of a document store. Each store is one class in :mod:`clinic.clients`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Upload:
    """A document to store: downloaded to a local file, and found to be what the message says."""

    document_id: str
    revision: int
    document_type: str
    file_name: str
    content_type: str
    path: Path
    size_bytes: int
    sha256: str
    date: date
    reserved_id: str | None

    @property
    def stored_name(self) -> str:
        """The file's name in the store: readable, and one document never takes another's."""
        name = Path(self.file_name)
        revision = f"_r{self.revision}" if self.revision > 1 else ""
        return f"{name.stem}_{self.document_id[:8]}{revision}{name.suffix}"

    @property
    def folders(self) -> tuple[str, str, str]:
        """The folders below the store's root, outermost first: year, month, type."""
        return f"{self.date.year:04}", f"{self.date.month:02}", self.document_type


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a document lies now. ``created`` is False when it lay there already, byte for byte."""

    store: str
    file_id: str
    url: str
    size_bytes: int
    sha256: str
    created: bool


class DocumentStore(Protocol):
    """A place that keeps documents for people to read. Several threads may call its methods.

    What may succeed later is a :class:`~clinic.errors.TransientError`: no network, no space left
    for the account, a folder somebody deleted, a login that was refused. What cannot is a
    :class:`~clinic.errors.PermanentError`, foremost other bytes where the document should go:
    nothing is ever overwritten.
    """

    @property
    def name(self) -> str:
        """What people are told: ``drive``, ``webdav``."""
        ...

    @property
    def place(self) -> str:
        """Which account, by whatever tells it from another of the same name.

        An id that one account gave means nothing in another.
        """
        ...

    def reserve(self) -> str | None:
        """Return an id to store one document under, so that a repeat is recognised.

        None when the document's own path does that.
        """
        ...

    def put(self, upload: Upload) -> Stored:
        """Store the document; done twice with the same ``reserved_id``, it is there once."""
        ...

    def check(self) -> str:
        """Log in, and say who is logged in and where."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
