"""Odoo's list of backups is told what it does not know, until it knows it."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from clinic.backups.tell import BATCH, tell_odoo
from clinic.errors import PermanentError, TransientError

AT = datetime(2026, 11, 24, 2, tzinfo=timezone(timedelta(hours=1)))


def row(number: int) -> dict[str, Any]:
    return {
        "backup_id": UUID(int=number), "request_id": None, "database": "odoo", "kind": "full",
        "state": "stored", "taken_at": AT, "updated_at": AT, "error": None, "drill_passed": False,
    }  # fmt: skip


class Ledger:
    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = list(rows)

    def untold(self, most: int) -> list[dict[str, Any]]:
        return self.rows[:most]

    def told(self, rows: Iterable[Mapping[str, Any]]) -> None:
        gone = [each["backup_id"] for each in rows]
        self.rows = [each for each in self.rows if each["backup_id"] not in gone]


class Odoo:
    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.failure: Exception | None = None
        self.deaf = False

    def call(self, model: str, method: str, /, **arguments: Any) -> Any:
        assert (model, method) == ("clinic.backup", "report")
        if self.failure:
            raise self.failure
        self.heard += arguments["backups"]
        if self.deaf:
            return []
        return [{"backup_id": each["backup_id"]} for each in arguments["backups"]]


def test_a_report_is_plain_json_without_what_is_not_known() -> None:
    odoo = Odoo()
    assert tell_odoo(Ledger(row(1)), odoo) == 1
    assert odoo.heard == [
        {
            "backup_id": str(UUID(int=1)), "database": "odoo", "kind": "full", "state": "stored",
            "taken_at": "2026-11-24T02:00:00+01:00", "updated_at": "2026-11-24T02:00:00+01:00",
            "drill_passed": False,
        }
    ]  # fmt: skip


def test_many_are_told_in_batches_each_once() -> None:
    ledger, odoo = Ledger(*map(row, range(2 * BATCH + 1))), Odoo()
    assert tell_odoo(ledger, odoo) == 2 * BATCH + 1
    assert not ledger.rows
    assert len({each["backup_id"] for each in odoo.heard}) == len(odoo.heard) == 2 * BATCH + 1


def test_nothing_new_is_no_call() -> None:
    odoo = Odoo()
    odoo.failure = TransientError("not asked")
    assert tell_odoo(Ledger(), odoo) == 0


@pytest.mark.parametrize("what", ["unreachable", "deaf"])
def test_what_odoo_did_not_take_stays_untold(what: str) -> None:
    ledger, odoo = Ledger(row(1)), Odoo()
    if what == "deaf":
        odoo.deaf = True
    else:
        odoo.failure = TransientError("Odoo is away")
    with pytest.raises((PermanentError, TransientError)):
        tell_odoo(ledger, odoo)
    assert len(ledger.rows) == 1


def test_the_moment_is_told_with_its_offset() -> None:
    odoo = Odoo()
    tell_odoo(Ledger(row(1) | {"taken_at": AT.astimezone(UTC)}), odoo)
    assert odoo.heard[0]["taken_at"] == "2026-11-24T01:00:00+00:00"
