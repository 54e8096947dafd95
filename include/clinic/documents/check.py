"""Is a downloaded file what its message says it is? Asked before any store is."""

from __future__ import annotations

import codecs
import hashlib
from pathlib import Path
from typing import Final

from clinic.documents.message import DocumentMessage
from clinic.documents.pdf import PdfOpener
from clinic.documents.reasons import ParkReason
from clinic.errors import ParkError

_MAGIC: Final = b"%PDF-"
_HEAD_BYTES: Final = 1024
_END: Final = b"%%EOF"
_LARGEST_OPENED_BYTES: Final = 20_000_000


def check_file(path: Path, message: DocumentMessage, pdfs: PdfOpener) -> None:
    """Compare a file with its message, and see that it is a PDF that opens.

    Raises:
        ParkError: It is another file, or no PDF.
        TooCostlyError: Opening it takes too long, or too much memory.
    """
    expected = message.metadata
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if not head.startswith(_MAGIC):
            raise ParkError(
                ParkReason.WRONG_TYPE,
                f"Odoo served {_kind_of(head)} in place of the PDF of {message}.",
            )
        if size_bytes != expected.size_bytes:
            raise ParkError(
                ParkReason.WRONG_SIZE,
                f"The file of {message} has {size_bytes} bytes; the message says "
                f"{expected.size_bytes}.",
            )
        file.seek(0)
        if hashlib.file_digest(file, "sha256").hexdigest() != expected.sha256:
            raise ParkError(
                ParkReason.WRONG_HASH,
                f"The file of {message} is not the one that the message was written for: its "
                "SHA-256 differs.",
            )
        file.seek(max(0, size_bytes - _HEAD_BYTES))
        if _END not in file.read():
            raise ParkError(
                ParkReason.BROKEN_PDF, f"The PDF of {message} is cut off: it has no end mark."
            )
    # Opening reads what the file calls its index, which a large scan may have a lot of: its hash
    # says already that it is the file Odoo rendered.
    if size_bytes <= _LARGEST_OPENED_BYTES and (problem := pdfs.problem_of(path)):
        raise ParkError(ParkReason.BROKEN_PDF, f"The PDF of {message} {problem}.")


def _kind_of(head: bytes) -> str:
    text = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "an HTML page"
    if not head:
        return "an empty file"
    return f"a file that begins with {head[:16]!r}"
