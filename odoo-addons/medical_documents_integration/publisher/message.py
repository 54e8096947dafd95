"""The message that says a document is there to be stored. Plain Python, no Odoo."""

import functools
import importlib
import json
import re
from datetime import datetime
from pathlib import Path

EXCHANGE = "documents_exchange"
ROUTING_KEYS = {"invoice": "invoice.created", "medical_record": "medical.created"}
SCHEMA = Path(__file__).parent.parent / "schemas" / "document.schema.json"
_UNSAFE = re.compile(r"[^\w.-]+", re.ASCII)


class MessageError(ValueError):
    """A message that its readers would refuse."""


def content_path(document_id: str, revision: int) -> str:
    """Where Odoo serves a document's bytes."""
    return f"/clinic/documents/{document_id}/{revision}/content"


def file_name(number: str) -> str:
    """A name that every store takes, made of a number such as INV/2026/00001."""
    stem = _UNSAFE.sub("_", number).strip("._-") or "document"
    return f"{stem[:120]}.pdf"


def properties(body: dict, database: str, now: datetime, history: dict) -> dict:
    """The AMQP properties of a first attempt, as keywords of pika.BasicProperties.

    ``history`` says by header what happened when, and by whom; what is empty is left out.
    """
    key = ROUTING_KEYS[body["document_type"]]
    message_id = f"{body['document_id']}.{body['metadata']['revision']}"
    return {
        "delivery_mode": 2,
        "content_type": "application/json",
        "message_id": message_id,
        "timestamp": int(now.timestamp()),
        "type": key,
        "headers": {
            "x-attempt": 1,
            "x-schema-version": 1,
            # https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/amqp-protocol-binding.md
            "cloudEvents:specversion": "1.0",
            "cloudEvents:id": message_id,
            "cloudEvents:source": f"/odoo/{database}",
            "cloudEvents:type": f"clinic.{key}",
            "cloudEvents:time": now.isoformat(),
            **{name: value for name, value in history.items() if value},
        },
    }


def encode(body: dict) -> bytes:
    """Return the body as JSON, checked against the schema where the library is installed.

    Raises:
        MessageError: it is not valid.
    """
    validator = _validator()
    problem = None if validator is None else next(validator.iter_errors(body), None)
    if problem is not None:
        raise MessageError(f"{problem.json_path}: {problem.message}")
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


@functools.cache
def _validator():
    try:
        jsonschema = importlib.import_module("jsonschema")
    except ImportError:
        return None
    return jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
