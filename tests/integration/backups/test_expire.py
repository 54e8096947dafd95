"""Old backups are given up in a real database and in the Drive emulator, kill -9 in between."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from clinic.backups.expire import Outcome, expire
from clinic.backups.model import BackupKind
from clinic.backups.settings import Retention
from clinic.clients.backups_db import BackupsDb
from clinic.clients.drive_vault import DriveVault
from clinic.errors import TransientError
from support.drive import Drive, running_drive
from support.kept_backups import Keeper
from support.processes import wait_until
from support.shared_db import Database

NOW = datetime.now(UTC).replace(hour=3, minute=30)
NIGHT = NOW.replace(hour=1, minute=0, second=0, microsecond=0)
DAY = timedelta(days=1)
TWO = Retention(last=1, daily=2, weekly=0, monthly=0, yearly=0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    with running_drive(tmp_path_factory.mktemp("drive")) as drive:
        yield drive


@pytest.fixture
def keeper(server: Drive, database: Database, tmp_path: Path) -> Iterator[Keeper]:
    vault = DriveVault(
        server.session(), f"Copias/{tmp_path.name}", drive_id=server.drive_id, endpoint=server.url,
        sleep=lambda _seconds: None,
    )  # fmt: skip
    db = BackupsDb(database.sync_url)
    yield Keeper(server, vault, db, tmp_path)
    server.reset()
    vault.close()
    db.close()


def run(keeper: Keeper, *, dry_run: bool = False) -> Outcome:
    return expire(keeper.db, keeper.vault, TWO, NOW, dry_run=dry_run)


def states(keeper: Keeper) -> list[str]:
    return [row["state"] for row in sorted(keeper.db.recent(99), key=lambda row: row["taken_at"])]


def test_old_backups_go_into_the_trash_and_a_second_run_finds_nothing(
    keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [keeper.keep(NIGHT - n * DAY) for n in range(4)]
    with caplog.at_level(logging.INFO):
        outcome = run(keeper)
    assert outcome.expired == (rows[3]["name"], rows[2]["name"])
    assert states(keeper) == ["expired", "expired", "stored", "stored"]
    assert keeper.names() == sorted(
        f"{row['name']}{suffix}" for row in rows[:2] for suffix in (".tar.age", ".manifest.json")
    )
    assert f"keep   {rows[0]['name']}: newest 1 of 1, day" in caplog.text
    assert f"expire {rows[2]['name']}: older than" in caplog.text
    keeper.change(rows[2]["file_id"], trashed=False)  # it is in the trash, not deleted
    keeper.change(rows[2]["file_id"], trashed=True)
    again = run(keeper)
    assert (again.expired, again.survey.remains) == ((), ())
    assert again.as_dict() == {
        "kept": 2, "expired": 0, "spared": 0, "swept": 0, "gone": 0, "damaged": 0, "strangers": 0,
    }  # fmt: skip


def test_a_dry_run_says_what_would_go_and_changes_nothing(
    keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [keeper.keep(NIGHT - n * DAY) for n in range(3)]
    before = keeper.names()
    with caplog.at_level(logging.INFO):
        assert run(keeper, dry_run=True).expired == (rows[2]["name"],)
    assert keeper.names() == before
    assert states(keeper) == ["stored"] * 3
    assert "nothing was changed" in caplog.text


def test_what_is_being_restored_stays_until_the_restore_is_over(
    keeper: Keeper, database: Database
) -> None:
    rows = [keeper.keep(NIGHT - n * DAY) for n in range(3)]
    restore_id = uuid4()
    keeper.db.start_restore(
        restore_id, rows[2]["backup_id"], purpose="restore", target="x", requested_by="ana"
    )
    outcome = run(keeper)
    assert outcome.expired == ()
    assert outcome.plan.keep[-1].reasons == ("it is being restored",)
    keeper.db.finish_restore(restore_id)
    assert run(keeper).expired == (rows[2]["name"],)


def test_a_restore_that_begins_after_the_plan_was_made_spares_its_backup(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [keeper.keep(NIGHT - n * DAY) for n in range(4)]
    known = keeper.db.running_restores

    def begins_now() -> list[dict[str, object]]:
        found = known()
        keeper.db.start_restore(
            uuid4(), rows[3]["backup_id"], purpose="drill", target="x", requested_by="schedule"
        )
        return found

    monkeypatch.setattr(keeper.db, "running_restores", begins_now)
    outcome = run(keeper)
    assert outcome.spared == (rows[3]["name"],)
    assert outcome.expired == (rows[2]["name"],)
    assert f"{rows[3]['name']}.tar.age" in keeper.names()


def test_the_last_one_that_a_drill_proved_stays(keeper: Keeper) -> None:
    rows = [keeper.keep(NIGHT - n * DAY) for n in range(3)]
    drill_id = uuid4()
    keeper.db.start_restore(
        drill_id, rows[2]["backup_id"], purpose="drill", target="x", requested_by="schedule"
    )
    keeper.db.finish_restore(drill_id)
    keeper.db.add_drill(
        drill_id, rows[2]["backup_id"], passed=True, restore_s=1, total_s=2, tables_compared=1,
        rows_compared=1, files_compared=0,
    )  # fmt: skip
    assert run(keeper).plan.keep[-1].reasons == ("the last one that a drill proved",)
    assert states(keeper) == ["stored"] * 3


@pytest.mark.parametrize("how", ["deleted", "trashed", "damaged", "no manifest"])
def test_no_good_backup_goes_in_favour_of_one_that_is_not_there(
    keeper: Keeper, database: Database, how: str
) -> None:
    rows = [keeper.keep(NIGHT - n * DAY) for n in range(4)]
    for row in rows[:2]:
        match how:
            case "deleted":
                keeper.delete(row["file_id"])
            case "trashed":
                keeper.change(row["file_id"], trashed=True)
            case "no manifest":
                keeper.delete(row["manifest_file_id"])
            case "damaged":
                keeper.delete(row["file_id"])
                other = keeper.upload(
                    row["backup_id"], NIGHT, BackupKind.FULL, "other.tar.age", b"another file"
                )
                database.query(
                    "UPDATE backups SET file_id = %s WHERE backup_id = %s", other, row["backup_id"]
                )
    outcome = run(keeper)
    assert outcome.expired == ()
    assert len(outcome.survey.damaged if how == "damaged" else outcome.survey.gone) == 2
    assert states(keeper) == ["stored"] * 4


def test_files_that_no_row_knows_are_said_and_not_touched(
    keeper: Keeper, caplog: pytest.LogCaptureFixture, database: Database
) -> None:
    old = NIGHT - 99 * DAY
    kept = keeper.keep(NIGHT)
    keeper.keep(NIGHT - DAY)
    keeper.upload(None, old, BackupKind.FULL, "notas.txt", b"a person's")
    lost = keeper.keep(old)
    copied = keeper.keep(old)
    keeper.upload(copied["backup_id"], old, BackupKind.FULL, "copy.tar.age", b"a copy")
    database.query("DELETE FROM backups WHERE backup_id = %s", lost["backup_id"])
    before = keeper.names()
    outcome = run(keeper)
    assert {one.name for one in outcome.survey.strangers} == {
        "notas.txt", "copy.tar.age", f"{lost['name']}.tar.age", f"{lost['name']}.manifest.json",
    }  # fmt: skip
    assert outcome.expired == (copied["name"],)
    assert set(before) - set(keeper.names()) == {
        f"{copied['name']}.tar.age", f"{copied['name']}.manifest.json",
    }  # fmt: skip
    assert "`clinic backup adopt` adds it to the list" in caplog.text
    assert f"{kept['name']}.tar.age" in keeper.names()


def test_a_backup_moved_elsewhere_by_a_person_is_still_there(keeper: Keeper) -> None:
    row = keeper.keep(NIGHT)
    keeper.vault._files.root = (*keeper.vault._files.root[:-1], "elsewhere")
    assert keeper.vault.files() == []
    outcome = run(keeper)
    assert (outcome.survey.gone, outcome.expired) == ((), ())
    assert outcome.plan.keep[0].backup.name == row["name"]


def test_one_that_a_person_took_back_later_stays(keeper: Keeper, database: Database) -> None:
    rows = [keeper.keep(NIGHT - n * DAY) for n in range(3)]
    run(keeper)
    for name in ("file_id", "manifest_file_id"):
        keeper.change(rows[2][name], trashed=False)
    database.query(
        "UPDATE backups SET expired_at = now() - interval '3 days' WHERE state = 'expired'"
    )
    outcome = run(keeper)
    assert outcome.survey.remains == ()
    assert {one.name for one in outcome.survey.strangers} == {
        f"{rows[2]['name']}.tar.age", f"{rows[2]['name']}.manifest.json",
    }  # fmt: skip
    assert f"{rows[2]['name']}.tar.age" in keeper.names()


def test_what_a_failed_backup_left_is_swept_after_a_week(
    keeper: Keeper, database: Database
) -> None:
    keeper.keep(NIGHT)
    backup_id = uuid4()
    keeper.db.begin(backup_id, database="odoo", kind=BackupKind.FULL, requested_by="schedule")
    keeper.upload(backup_id, NIGHT, BackupKind.FULL, "half.tar.age", b"half")
    assert run(keeper).survey.remains == ()
    keeper.db.failed(backup_id, "the disk is full")
    assert run(keeper).survey.remains == ()
    database.query(
        "UPDATE backups SET updated_at = now() - interval '8 days' WHERE state = 'failed'"
    )
    assert [file.name for file in run(keeper).survey.remains] == ["half.tar.age"]
    assert "half.tar.age" not in keeper.names()


# Ended in between

WORKER = """
import logging, sys
from datetime import datetime
from clinic.backups.expire import expire
from clinic.backups.settings import Retention
from clinic.clients.backups_db import BackupsDb
from clinic.clients.drive_vault import DriveVault
from google.oauth2 import service_account
from google.auth.transport.requests import AuthorizedSession

keyfile, url, drive_id, root, database_url, now = sys.argv[1:]
credentials = service_account.Credentials.from_service_account_file(
    keyfile, scopes=["https://www.googleapis.com/auth/drive"]
)
vault = DriveVault(AuthorizedSession(credentials), root, drive_id=drive_id, endpoint=url)
two = Retention(last=1, daily=2, weekly=0, monthly=0, yearly=0)
expire(BackupsDb(database_url), vault, two, datetime.fromisoformat(now), dry_run=False)
"""


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_kill_at_each_step_loses_no_good_backup_and_the_next_run_ends_the_work(
    keeper: Keeper, database: Database, nth: int
) -> None:
    rows = [keeper.keep(NIGHT - n * DAY) for n in range(4)]
    keeper.drive.reset()
    # Two backups, two files each: what was done before the nth is done, the rest is not.
    keeper.drive.fault(method="PATCH", nth=nth, kind="delay", delay_s=30)
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(keeper.drive.keyfile), keeper.drive.url,
         keeper.drive.drive_id, "/".join(keeper.vault._files.root), database.sync_url,
         NOW.isoformat()],
        env=os.environ | {"PYTHONPATH": "include"},
        cwd=Path(__file__).parents[3],
    )  # fmt: skip

    def has_come() -> bool:
        asked = [one for one in keeper.drive.log() if one["method"] == "PATCH"]
        return len(asked) >= nth

    wait_until(has_come, "the worker trashes its files")
    worker.send_signal(signal.SIGKILL)
    worker.wait(10)
    keeper.drive.kill()  # and what it asked for last is not done
    keeper.drive.start()
    # Whatever is on the list can be restored.
    there = keeper.names()
    for row in keeper.db.stored():
        assert f"{row['name']}.tar.age" in there
        assert f"{row['name']}.manifest.json" in there
    assert {row["name"] for row in keeper.db.stored()} >= {rows[0]["name"], rows[1]["name"]}
    outcome = run(keeper)
    assert (outcome.survey.gone, outcome.survey.strangers) == ((), ())
    assert states(keeper) == ["expired", "expired", "stored", "stored"]
    assert keeper.names() == sorted(
        f"{row['name']}{suffix}" for row in rows[:2] for suffix in (".tar.age", ".manifest.json")
    )


def test_drives_failure_in_between_is_gone_on_with(keeper: Keeper) -> None:
    for n in range(4):
        keeper.keep(NIGHT - n * DAY)
    keeper.vault._patience_s = 0
    keeper.drive.fault(method="PATCH", nth=2, times=99, kind="status", status=503)
    with pytest.raises(TransientError, match="HTTP 503"):
        run(keeper)
    assert states(keeper) == ["expired", "stored", "stored", "stored"]
    keeper.drive.reset()
    outcome = run(keeper)
    assert len(outcome.survey.remains) == 1
    assert states(keeper) == ["expired", "expired", "stored", "stored"]
    assert len(keeper.names()) == 4
