"""Cursors of a keyset: where the next page begins, opaque to who holds it."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from inventory_api.problems import FieldError, Problem


def encode(*key: str | int) -> str:
    """Return the key of a page's last row as a cursor."""
    text = json.dumps(key, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str | None, *kinds: type) -> tuple[Any, ...]:
    """Return the key that ``cursor`` holds, or as many None when there is no cursor.

    Raises:
        Problem: It is no cursor of this list.
    """
    if cursor is None:
        return (None,) * len(kinds)
    try:
        key = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        key = None
    if (
        not isinstance(key, list)
        or [type(part) for part in key] != list(kinds)
        or any(isinstance(part, str) and ("\0" in part or not _encodable(part)) for part in key)
        or any(isinstance(part, int) and not 0 <= part < 2**63 for part in key)
    ):
        message = "is no cursor of this list: take `next` of the page before, or leave it out"
        raise Problem(
            422, f"after {message}.", errors=[FieldError(where="query.after", message=message)]
        )
    return tuple(key)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
