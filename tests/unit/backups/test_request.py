"""Who asked for a backup, read from the messages of Odoo's button."""

import json
from typing import Any

import pytest
from clinic.backups.model import BackupKind
from clinic.backups.request import read_messages
from clinic.errors import PermanentError

IDS = [f"{digit * 8}-1111-4111-8111-111111111111" for digit in "123"]


def message(number: int = 0, **other: Any) -> dict[str, Any]:
    body = {"request_id": IDS[number], "kind": "database", "note": "", "requested_by": "ana"}
    return {"body": json.dumps(body | other)}


def test_a_message_is_a_request() -> None:
    request = read_messages([message(note="antes de actualizar")])
    assert str(request.request_id) == IDS[0]
    assert (request.kind, request.note) == (BackupKind.DATABASE, "antes de actualizar")
    assert request.requested_by == "ana"


def test_one_backup_stands_for_all_that_asked_meanwhile() -> None:
    request = read_messages([message(0), message(1, requested_by="eva")])
    assert (str(request.request_id), request.requested_by) == (IDS[1], "eva")
    assert request.kind is BackupKind.DATABASE


def test_two_kinds_at_once_are_a_full_backup() -> None:
    assert read_messages([message(0), message(1, kind="filestore")]).kind is BackupKind.FULL


def test_a_message_that_is_no_request_does_not_take_a_good_one_with_it() -> None:
    assert str(read_messages([message(0), {"body": "{"}]).request_id) == IDS[0]


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        ({"body": "{"}, "the whole"),
        ({}, "the whole"),
        (message(kind="everything"), "kind"),
        (message(request_id="7"), "request_id"),
        (message(note="x" * 201), "note"),
        (message(command="rm"), "command"),
    ],
)
def test_what_is_no_request_is_refused_by_what_is_wrong_with_it(
    payload: dict[str, Any], word: str
) -> None:
    with pytest.raises(PermanentError, match=word) as caught:
        read_messages([payload])
    assert "everything" not in str(caught.value)
