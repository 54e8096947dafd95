"""What is wrong with the backups is said once, in a sentence that says what to do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from clinic.backups.check import (
    Breach,
    Known,
    Looked,
    known_breaches,
    needed,
    refused,
    vault_breaches,
)
from clinic.backups.keys import new_pair
from clinic.backups.model import BackupKind
from clinic.backups.retention import Candidate
from clinic.backups.settings import BackupSettings
from clinic.backups.survey import Sighting, Survey
from clinic.backups.vault import Space

NOW = datetime(2026, 11, 24, 9, 20, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GB = 1000**3
SETTINGS = BackupSettings(recipients=(new_pair()[1],))


def row(
    age: timedelta, kind: str = "full", database: str = "odoo", size: int = GB
) -> dict[str, Any]:
    return {
        "backup_id": uuid4(), "database": database, "kind": kind, "taken_at": NOW - age,
        "name": f"{database}.{kind}.{age}", "size_bytes": size, "updated_at": NOW - age,
    }  # fmt: skip


def drill(age: timedelta, *, passed: bool = True, restore_s: float = 600) -> dict[str, Any]:
    return {
        "passed": passed, "finished_at": NOW - age, "restore_s": restore_s, "name": "odoo.full.x",
    }  # fmt: skip


def good() -> Known:
    return Known(
        database="odoo", stored=[row(8 * HOUR), row(32 * HOUR)], drills=[drill(2 * DAY)], untold=[],
        has_drill_key=True,
    )  # fmt: skip


def known(**changes: Any) -> list[Breach]:
    return known_breaches(replace(good(), **changes), SETTINGS, NOW)


def survey(rows: list[dict[str, Any]], **changes: tuple[Sighting, ...]) -> Survey:
    found = tuple(
        Candidate(one["backup_id"], "odoo", BackupKind.FULL, one["taken_at"], None, one["name"])
        for one in rows
    )
    return replace(Survey(found, (), (), (), ()), **changes)


def looked(space: Space = Space(0, None), rows: Any = None, **changes: Any) -> list[Breach]:  # noqa: B008
    facts = replace(good(), stored=rows) if rows is not None else good()
    consent = changes.pop("consent_ends_at", None)
    return vault_breaches(Looked(survey(list(facts.stored), **changes), space, consent), facts, NOW)


def keys(found: list[Breach]) -> list[str]:
    return [one.key for one in found]


def test_where_all_is_well_nothing_is_said() -> None:
    assert known() == []
    assert looked() == []


@pytest.mark.parametrize(
    ("stored", "is_breach"),
    [
        ([row(26 * HOUR)], False),
        ([row(27 * HOUR)], True),
        ([], True),
        ([row(HOUR, kind="database"), row(27 * HOUR)], True),
        ([row(HOUR, database="copia"), row(27 * HOUR)], True),
        ([row(-DAY), row(27 * HOUR)], True),  # one from the future is not the newest
    ],
)
def test_the_age_of_the_last_full_backup(stored: list[dict[str, Any]], is_breach: bool) -> None:
    found = known(stored=stored, drills=[drill(DAY)])
    assert keys(found) == (["backups/rpo"] if is_breach else [])
    if is_breach:
        assert found[0].severity == "critical"
        assert "backup_odoo" in found[0].detail


def test_a_new_installations_first_backup_is_waited_for() -> None:
    assert known(stored=[], drills=[], is_new=True) == []
    assert keys(known(stored=[row(27 * HOUR)], drills=[drill(DAY)], is_new=True)) == ["backups/rpo"]


@pytest.mark.parametrize(
    ("drills", "expected"),
    [
        ([drill(8 * DAY)], []),
        ([drill(9 * DAY)], ["backups/drill-age"]),
        ([drill(HOUR, passed=False), drill(7 * DAY)], ["backups/drill-failed"]),
        (
            [drill(HOUR, passed=False), drill(9 * DAY)],
            ["backups/drill-failed", "backups/drill-age"],
        ),
        ([drill(HOUR), drill(DAY, passed=False)], []),
    ],
)
def test_the_last_drill(drills: list[dict[str, Any]], expected: list[str]) -> None:
    assert keys(known(drills=drills)) == expected


def test_a_new_installation_has_time_until_its_first_drill() -> None:
    assert keys(known(drills=[], stored=[row(HOUR), row(8 * DAY)])) == []
    assert keys(known(drills=[], stored=[row(HOUR), row(9 * DAY)])) == ["backups/drill-age"]


def test_a_restore_takes_as_long_as_was_measured() -> None:
    slow, fast = drill(DAY, restore_s=4.1 * 3600), drill(DAY, restore_s=4 * 3600)
    assert keys(known(drills=[fast])) == []
    (breach,) = known(drills=[fast, slow])
    assert breach.key == "backups/rto"
    assert "4.1 h; el límite son 4 h" in breach.detail
    assert keys(known(drills=[fast] * 4 + [slow])) == []  # long ago
    assert keys(known(drills=[drill(HOUR, passed=False, restore_s=99999), fast])) == [
        "backups/drill-failed"
    ]


def test_the_drills_key_is_missing() -> None:
    assert keys(known(has_drill_key=False)) == ["backups/drill-key"]
    assert keys(known(has_drill_key=False, stored=[], drills=[])) == ["backups/rpo"]


def test_odoo_is_told_within_two_hours() -> None:
    assert keys(known(untold=[row(1.9 * HOUR)])) == []
    (breach,) = known(untold=[row(1.9 * HOUR), row(2.1 * HOUR)])
    assert (breach.key, breach.severity) == ("backups/untold", "warning")
    assert "Odoo no sabe de 1 copias" in breach.detail


@pytest.mark.parametrize(
    ("what", "severity"), [("gone", "critical"), ("damaged", "critical"), ("strangers", "warning")]
)
def test_files_that_are_not_as_they_should_be(what: str, severity: str) -> None:
    found = looked(**{what: tuple(Sighting(f"copy{n}", "x") for n in range(5))})
    assert [(one.key, one.severity) for one in found] == [(f"backups/{what}", severity)]
    assert found[0].detail.startswith("copy0, copy1 (+3): ")


def test_a_consent_that_ends() -> None:
    assert looked(consent_ends_at=NOW + 4 * DAY) == []
    (soon,) = looked(consent_ends_at=NOW + 3 * DAY)
    assert (soon.key, soon.severity) == ("backups/consent", "warning")
    assert "2026-11-27 09:20 UTC: `clinic drive authorize`" in soon.detail
    assert looked(consent_ends_at=NOW)[0].severity == "critical"


def test_space_for_a_week_of_backups_as_they_grew() -> None:
    grown = [row(n * DAY, size=int((10 - n) * GB)) for n in range(9)]  # 1 GB a day, 10 GB now
    week = needed(grown, "odoo", NOW)
    assert week == [n * GB for n in range(11, 18)]
    assert looked(Space(0, sum(week)), grown) == []
    (tight,) = looked(Space(1, sum(week)), grown)
    assert (tight.key, tight.severity) == ("backups/space", "warning")
    assert "bastan para 6 de 7 noches (98.0 GB)" in tight.detail
    (full,) = looked(Space(90 * GB, 100 * GB), grown)
    assert full.severity == "critical"
    assert "Quedan 10.0 GB: bastan para 0 de 7" in full.detail
    assert looked(Space(200 * GB, 100 * GB), grown)[0].severity == "critical"
    assert looked(Space(99, None), grown) == []  # a shared drive


def test_space_needs_no_more_than_the_last_one_where_backups_shrink_or_are_few() -> None:
    assert needed([row(n * DAY, size=(1 + n) * GB) for n in range(9)], "odoo", NOW) == [GB] * 7
    assert needed([row(HOUR, size=GB), row(2 * HOUR, size=1)], "odoo", NOW) == [GB] * 7
    assert needed([row(31 * DAY)], "odoo", NOW) == []
    assert needed([row(HOUR, kind="database")], "odoo", NOW) == []


def test_a_refused_login_says_what_the_vault_said() -> None:
    breach = refused("Google gives no token (invalid_grant).")
    assert breach.severity == "critical"
    assert breach.detail.endswith("Google gives no token (invalid_grant).")


def test_every_breach_fits_a_message_and_has_a_runbook() -> None:
    runbooks = Path(__file__).parents[3] / "docs" / "runbooks"
    many = tuple(Sighting(f"odoo.full.20261124T010000Z.{n:08x}", "x") for n in range(99))
    found = [
        *known(
            stored=[row(99 * DAY)],
            drills=[drill(90 * DAY, passed=False), drill(DAY, restore_s=1e6)],
            untold=[row(9 * DAY)] * 99, has_drill_key=False,
        ),
        *known(stored=[]),
        *known(drills=[drill(999 * DAY)]),
        *looked(
            Space(9000 * GB, 9001 * GB), gone=many, damaged=many, strangers=many,
            consent_ends_at=NOW, rows=[row(HOUR, size=5000 * GB)],
        ),
        refused("x"),
    ]  # fmt: skip
    assert len({one.key for one in found}) == 12
    text = (runbooks / "check_backups.md").read_text()
    for one in found:
        assert len(one.title) <= 120
        assert len(one.detail) <= 400, one.detail
        assert one.runbook in {
            "backup_odoo.md", "check_backups.md", "drill_restore.md",
        }  # fmt: skip
        # A section of its own, or a word of which other runbook has one.
        assert f"## {one.key}\n" in text or f"`{one.key}`" in text
