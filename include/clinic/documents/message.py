"""The messages that say what to store: read strictly, because anybody may have written them."""

from __future__ import annotations

import json
import os
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from jsonschema import Draft202012Validator, ValidationError
from pydantic import BaseModel, ConfigDict

from clinic.documents.reasons import ParkReason
from clinic.errors import ParkError

SCHEMAS: Final = Path(
    os.environ.get("CLINIC_MESSAGES_DIR", Path(__file__).parents[3] / "docs/reference/messages")
)
MAX_BODY_BYTES: Final = 256 * 1024
SHOWN_CHARACTERS: Final = 200

TYPE_OF_KEY: Final = {"invoice.created": "invoice", "medical.created": "medical_record"}
"""Routing key -> the document type it stands for."""


class Metadata(BaseModel):
    """What a message says of its document."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    revision: int
    number: str
    date: date
    file_name: str
    content_type: str
    size_bytes: int
    sha256: str
    company: str
    title: str


class DocumentMessage(BaseModel):
    """One revision of one document, to be stored."""

    model_config = ConfigDict(frozen=True)

    document_id: str
    document_type: str
    patient_id: int | None
    file_path: str
    metadata: Metadata

    @property
    def revision(self) -> int:
        """The document's revision; its bytes never change."""
        return self.metadata.revision

    def __str__(self) -> str:
        """Name it for a log: type, number, id."""
        return f"{self.document_type} {self.metadata.number} ({self.document_id}.{self.revision})"


def parse(routing_key: str, body: bytes) -> DocumentMessage:
    """Read the body of ``invoice.created`` or ``medical.created``.

    Raises:
        ParkError: It is not such a message; the error says what is wrong with it.

    Source: docs/reference/messages/document.schema.json
    """
    try:
        return _read(routing_key, _read_object(body))
    except RecursionError as error:
        raise ParkError(ParkReason.SCHEMA, "The message is nested too deep.") from error


def _read(routing_key: str, document: dict[str, Any]) -> DocumentMessage:
    if "document_type" in document and document["document_type"] not in TYPE_OF_KEY.values():
        raise ParkError(
            ParkReason.UNKNOWN_TYPE,
            f"The message's document_type is {_shown(document['document_type'])}; known are "
            f"{' and '.join(sorted(TYPE_OF_KEY.values()))}.",
        )
    _check_path(document.get("file_path"))
    if problems := problems_of("document", document):
        raise ParkError(ParkReason.SCHEMA, f"The message is no document message: {problems}")
    expected = TYPE_OF_KEY.get(routing_key)
    if document["document_type"] != expected:
        raise ParkError(
            ParkReason.UNKNOWN_TYPE,
            f"The message is of type {document['document_type']} and came as {routing_key}, which "
            f"is for {expected or 'nothing known'}.",
        )
    message = DocumentMessage.model_validate(document)
    own_path = f"/clinic/documents/{message.document_id}/{message.revision}/content"
    if message.file_path != own_path:
        raise ParkError(
            ParkReason.BAD_PATH,
            f"The message's file_path is {_shown(message.file_path)}, which is another document's.",
        )
    return message


def problems_of(schema: str, body: Any) -> str:
    """Return what is wrong with a decoded body by a schema, at most three things; empty if nothing.

    Args:
        schema: ``document`` or ``notification``.
        body: What was decoded from JSON.
    """
    errors = sorted(
        _validator(schema).iter_errors(body), key=lambda error: list(map(str, error.path))
    )
    return "; ".join(
        f"{'.'.join(map(str, error.path)) or 'the message'}: {_rule(error)}" for error in errors[:3]
    )


def _rule(error: ValidationError) -> str:
    """Say which rule is broken, and not by which value: that may be a person's, and logs are read.

    The names of missing and unknown keys are no values.
    """
    if error.validator in {"required", "additionalProperties"}:
        return str(error.message)[:SHOWN_CHARACTERS]
    return f"does not fit {error.validator} {error.validator_value!r}"[:SHOWN_CHARACTERS]


def _read_object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY_BYTES:
        raise ParkError(
            ParkReason.TOO_LARGE,
            f"The message is {len(body)} bytes long; a document message has at most "
            f"{MAX_BODY_BYTES}. It was not read.",
        )
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ParkError(ParkReason.NOT_JSON, f"The message is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ParkError(ParkReason.SCHEMA, f"The message is no JSON object but {_shown(document)}.")
    if not _can_be_kept(document):
        raise ParkError(
            ParkReason.SCHEMA,
            "The message holds U+0000 or half of a surrogate pair, which no database keeps.",
        )
    return document


def _check_path(path: Any) -> None:
    """Say what a bad path is before the schema only says that it does not match."""
    if not isinstance(path, str):
        return
    plain = unquote(path).replace("\\", "/")
    address = urlsplit(plain) if not plain.startswith("///") else None
    if address is not None and (address.scheme or address.netloc):
        raise ParkError(
            ParkReason.FOREIGN_HOST,
            f"The message's file_path is the address {_shown(path)}. Only a path of our own Odoo "
            "is ever fetched.",
        )
    if ".." in plain.split("/") or not plain.startswith("/clinic/documents/"):
        raise ParkError(
            ParkReason.BAD_PATH,
            f"The message's file_path is {_shown(path)}, which is no document of Odoo's.",
        )


def _can_be_kept(document: Any) -> bool:
    """Tell whether all its texts are characters that PostgreSQL takes."""
    left = [document]
    while left:  # no recursion: how deep it goes is the sender's choice
        value = left.pop()
        if isinstance(value, str):
            if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
                return False
        elif isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            left += value
    return True


def _shown(value: Any) -> str:
    return repr(value)[:SHOWN_CHARACTERS]


@cache
def _validator(schema: str) -> Draft202012Validator:
    text = (SCHEMAS / f"{schema}.schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(
        json.loads(text), format_checker=Draft202012Validator.FORMAT_CHECKER
    )
