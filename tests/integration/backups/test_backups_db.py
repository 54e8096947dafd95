"""What is remembered of backups, in a real database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from clinic.backups.model import BackupKind, BackupName, DumpFormat, Manifest
from clinic.clients.backups_db import BackupsDb
from clinic.errors import PermanentError, TransientError
from support.shared_db import Database

NIGHT = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)


@pytest.fixture
def db(database: Database) -> Iterator[BackupsDb]:
    db = BackupsDb(database.sync_url)
    yield db
    db.close()


def manifest(backup_id: UUID, taken_at: datetime = NIGHT, database: str = "odoo") -> Manifest:
    return Manifest(
        backup_id=backup_id,
        name=str(BackupName.of(database, BackupKind.FULL, taken_at, backup_id)),
        kind=BackupKind.FULL,
        database=database,
        database_uuid=str(uuid4()),
        taken_at=taken_at,
        source="postgres",
        dump_format=DumpFormat.DIRECTORY,
        odoo_version="19.0",
        postgres_version="17.6",
        modules={"base": "19.0.1.3"},
        tables={"public.res_users": 5},
        filestore=None,
        tools={"pg_dump": "17.6"},
        requested_by="schedule",
        note="",
        size_bytes=100,
        sha256="a" * 64,
        encrypted_size_bytes=120,
        encrypted_sha256="b" * 64,
        recipients=("age1" + "q" * 58,),
    )


def begin(db: BackupsDb, backup_id: UUID, request_id: UUID | None = None) -> bool:
    return db.begin(
        backup_id,
        database="odoo",
        kind=BackupKind.FULL,
        requested_by="schedule",
        run_id="scheduled__1",
        request_id=request_id,
    )


def store(db: BackupsDb, taken_at: datetime = NIGHT, database: str = "odoo") -> UUID:
    backup_id = uuid4()
    db.upsert_from_manifest(
        manifest(backup_id, taken_at, database),
        vault="drive",
        file_id=f"file-{backup_id}",
        manifest_file_id=f"manifest-{backup_id}",
        url="https://drive.example/x",
    )
    return backup_id


def test_a_backup_that_began_counts_only_once_it_is_stored(db: BackupsDb) -> None:
    backup_id = uuid4()

    assert begin(db, backup_id)
    assert db.stored() == []
    db.failed(backup_id, "the disk is full")
    assert (db.get(backup_id) or {})["error"] == "the disk is full"
    assert begin(db, backup_id)  # the next try
    db.upsert_from_manifest(
        manifest(backup_id), vault="drive", file_id="f", manifest_file_id="m", url="https://u"
    )

    (row,) = db.stored()
    assert (row["state"], row["error"], row["run_id"]) == ("stored", None, "scheduled__1")
    assert row["size_bytes"] == 120
    assert row["manifest"]["tables"] == {"public.res_users": 5}
    assert not begin(db, backup_id)  # stored: there is nothing to do again
    db.failed(backup_id, "too late")
    assert (db.get(backup_id) or {})["state"] == "stored"


def test_one_process_takes_a_backup_at_a_time(db: BackupsDb, database: Database) -> None:
    assert begin(db, uuid4())
    other = BackupsDb(database.sync_url)

    with pytest.raises(TransientError, match="another process takes a backup"):
        begin(other, uuid4())
    db.close()

    assert begin(other, uuid4())
    other.close()


def test_what_a_killed_process_left_running_is_failed_by_the_next(db: BackupsDb) -> None:
    left = uuid4()
    begin(db, left)
    db.close()

    begin(db, uuid4())

    row = db.get(left)
    assert row is not None
    assert row["state"] == "failed"
    assert "was ended" in row["error"]


def test_the_newest_is_by_the_time_of_its_snapshot(db: BackupsDb) -> None:
    newest = store(db, NIGHT)
    store(db, NIGHT - timedelta(days=1))
    store(db, NIGHT + timedelta(days=1), database="another")

    row = db.newest_stored("odoo", BackupKind.FULL)

    assert row is not None
    assert row["backup_id"] == newest
    assert db.newest_stored("odoo", BackupKind.DATABASE) is None


def test_a_backup_of_a_clock_that_was_wrong_is_not_the_newest_for_a_year(db: BackupsDb) -> None:
    right = store(db, NIGHT)
    ahead = store(db, datetime.now(UTC) + timedelta(days=365))
    row = db.newest_stored("odoo", BackupKind.FULL)
    assert row is not None
    assert row["backup_id"] == right
    assert not db.expire(right)
    assert not db.expire(ahead)


def test_neither_the_newest_nor_one_that_is_being_restored_expires(
    db: BackupsDb, database: Database
) -> None:
    old, newest = store(db, NIGHT - timedelta(days=1)), store(db, NIGHT)
    store(db, NIGHT + timedelta(days=1), database="another")
    restore_id = uuid4()
    db.start_restore(restore_id, old, purpose="drill", target="odoo_drill", requested_by="schedule")

    assert not db.expire(newest)
    assert not db.expire(old)
    assert [row["restore_id"] for row in db.running_restores()] == [restore_id]

    database.query("UPDATE restores SET updated_at = now() - interval '11 hours'")
    assert not db.expire(old)  # one long step: a slow line, a large filestore
    database.query("UPDATE restores SET updated_at = now() - interval '721 minutes'")
    assert db.running_restores() == []
    assert db.expire(old)
    assert not db.expire(old)
    with pytest.raises(PermanentError, match="no stored backup"):
        db.start_restore(uuid4(), old, purpose="restore", target="x", requested_by="ana")


def test_an_expiry_that_races_with_a_restore_waits_for_it(
    db: BackupsDb, database: Database
) -> None:
    old, _ = store(db, NIGHT - timedelta(days=1)), store(db, NIGHT)
    with psycopg.connect(database.owner_url) as restoring:  # start_restore, half-way
        restoring.execute("SELECT FROM backups WHERE backup_id = %s FOR UPDATE", [old])
        restoring.execute(
            "INSERT INTO restores (restore_id, backup_id, purpose, target, state, requested_by)"
            " VALUES (gen_random_uuid(), %s, 'restore', 'x', 'running', 'ana')",
            [old],
        )
        impatient = BackupsDb(database.sync_url, statement_timeout_s=1)
        with pytest.raises(TransientError):
            impatient.expire(old)
        impatient.close()

    assert not db.expire(old)


def test_odoo_is_told_again_of_what_changed_while_it_was_told(db: BackupsDb) -> None:
    request_id = uuid4()
    backup_id = uuid4()
    begin(db, backup_id, request_id)

    rows = db.untold(10)
    assert [(row["backup_id"], row["request_id"], row["state"]) for row in rows] == [
        (backup_id, request_id, "running")
    ]
    db.failed(backup_id, "no space")
    db.told(rows)
    (row,) = db.untold(10)
    assert row["error"] == "no space"
    db.told([row])
    assert db.untold(10) == []


def test_a_drill_is_kept_once_and_told(db: BackupsDb) -> None:
    backup_id, restore_id = store(db), uuid4()
    db.told(db.untold(10))
    db.start_restore(
        restore_id, backup_id, purpose="drill", target="odoo_drill", requested_by="schedule"
    )
    db.step_restore(restore_id)
    for _ in range(2):
        db.add_drill(
            restore_id,
            backup_id,
            passed=False,
            restore_s=12.3,
            total_s=20,
            tables_compared=3,
            rows_compared=10,
            files_compared=2,
            differences=["public.res_users: 5 instead of 6 rows"],
        )
    db.finish_restore(restore_id, error="It differs.", report={"steps": {"load": 3.2}})

    (drill,) = db.drills(5)
    assert drill["differences"] == ["public.res_users: 5 instead of 6 rows"]
    assert drill["backup_id"] == backup_id
    assert db.last_drill() == drill
    assert db.last_drill(only_passed=True) is None
    (row,) = db.untold(10)
    assert (row["drill_passed"], row["drilled_at"]) == (False, drill["finished_at"])
    assert db.running_restores() == []


def test_a_backup_is_known_again_from_its_manifest(db: BackupsDb) -> None:
    old, _ = store(db, NIGHT - timedelta(days=1)), store(db, NIGHT)
    assert db.expire(old)

    db.upsert_from_manifest(  # taken back out of the trash
        manifest(old, NIGHT - timedelta(days=1)),
        vault="drive",
        file_id="f2",
        manifest_file_id="m2",
        url="https://u",
    )

    row = db.get(old)
    assert row is not None
    assert (row["state"], row["expired_at"], row["file_id"]) == ("stored", None, "f2")
