"""A backup between real systems, and what goes wrong on the way: a failed run is never a backup."""

import dataclasses
import json
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from clinic.backups.keys import DrillKeys
from clinic.backups.model import BackupKind, BackupName
from clinic.backups.source import Snapshot
from clinic.clients.odoo_dump_postgres import PostgresDumpSource
from clinic.errors import PermanentError, TransientError
from support.backups import BackupRig, fill_filestore, restorable
from support.drive import Drive
from support.postgres import PostgresCluster

pytestmark = pytest.mark.stack

MIB = 1024**2
CHUNK = "upload_id="
LARGE = 300 * MIB


def stored(rig: BackupRig) -> list[str]:
    """What may be called a backup: in the shared database, and in the vault."""
    with closing(rig.ledger()) as ledger, closing(rig.vault()) as vault:
        manifests = [one.name for one in vault.files() if one.name.endswith(".manifest.json")]
        names = [row["name"] for row in ledger.stored()]
    assert sorted(manifests) == sorted(f"{name}.manifest.json" for name in names)
    return names


def failure(rig: BackupRig) -> str:
    with closing(rig.ledger()) as ledger:
        row = ledger.get(rig.id)
    assert row is not None
    assert row["state"] == "failed"
    return str(row["error"])


@pytest.mark.parametrize("kind", BackupKind)
def test_what_is_stored_is_what_odoo_has(rig: BackupRig, kind: BackupKind, tmp_path: Path) -> None:
    rig = rig.new(kind)

    told = rig.take()

    manifest = restorable(rig, tmp_path)
    assert told["name"] == manifest["name"]
    assert stored(rig) == [manifest["name"]]
    assert (manifest["tables"] != {}) == (kind is not BackupKind.FILESTORE)
    assert (manifest["filestore"] is None) == (kind is BackupKind.DATABASE)
    with psycopg.connect(rig.odoo_url) as odoo:
        (uuid,) = odoo.execute(  # type: ignore[misc]
            "SELECT value FROM ir_config_parameter WHERE key = 'database.uuid'"
        ).fetchone()
        (users,) = odoo.execute("SELECT count(*) FROM res_users").fetchone()  # type: ignore[misc]
        files = odoo.execute(
            "SELECT DISTINCT store_fname FROM ir_attachment WHERE store_fname IS NOT NULL"
        ).fetchall()
    assert manifest["database_uuid"] == uuid
    assert manifest["modules"]["base"].startswith(f"{manifest['odoo_version']}.")
    if manifest["tables"]:
        assert manifest["tables"]["public.res_users"] == users
    if manifest["filestore"]:
        kept = manifest["filestore"]["files"] + len(manifest["filestore"]["missing"])
        assert kept == len(files)
        assert manifest["filestore"]["files"] > 100
    # A person's key, and of a full backup the drill's.
    assert len(manifest["recipients"]) == (2 if kind is BackupKind.FULL else 1)
    assert not rig.spool_folder.exists()
    assert rig.take() == told  # again: nothing happens
    assert stored(rig) == [manifest["name"]]


def test_the_archive_is_of_one_moment_whoever_writes_meanwhile(
    rig: BackupRig, tmp_path: Path
) -> None:
    done = threading.Event()

    def write() -> None:
        with psycopg.connect(rig.odoo_url, autocommit=True) as odoo:
            while not done.is_set():
                odoo.execute('INSERT INTO res_partner_category (name) VALUES (\'{"en_US": "x"}\')')

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            rig = rig.new(BackupKind.DATABASE)
            rig.take()  # it compares the dump's rows with those that it counted beside it
            restorable(rig, tmp_path)
    finally:
        done.set()
        writer.join()


class Spoiling(PostgresDumpSource):
    """Cuts one file of each dump off at 99 %, as a disk that lies does."""

    def read_back(self, dump: Path, tables: Mapping[str, int]) -> None:
        largest = max(dump.glob("*.dat*"), key=lambda path: path.stat().st_size)
        with largest.open("r+b") as file:
            file.truncate(largest.stat().st_size * 99 // 100)
        super().read_back(dump, tables)


def test_a_dump_that_is_cut_off_is_no_backup(rig: BackupRig, tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="Reading the dump back"):
        rig.take(Spoiling(rig.odoo_url, Path(rig.filestore)))
    assert stored(rig) == []
    assert "Reading the dump back" in failure(rig)

    rig.take()
    restorable(rig, tmp_path)


class Losing(PostgresDumpSource):
    """Loses a row between the count and the dump's end."""

    def read_back(self, dump: Path, tables: Mapping[str, int]) -> None:
        super().read_back(dump, {**tables, "public.res_users": tables["public.res_users"] + 1})


def test_a_dump_with_a_row_too_few_is_no_backup(rig: BackupRig) -> None:
    with pytest.raises(TransientError, match=r"public\.res_users: \d+ instead of \d+"):
        rig.take(Losing(rig.odoo_url, Path(rig.filestore)))
    assert stored(rig) == []
    # It was encrypted meanwhile: nothing of it was sent, and nothing is left to go on with.
    with closing(rig.vault()) as vault:
        assert vault.files() == []
    assert {path.name for path in rig.spool_folder.iterdir()} == {"journal.json", "lock"}
    assert json.loads((rig.spool_folder / "journal.json").read_text())["stage"] == "begun"


def test_postgresql_ends_the_dump(
    rig: BackupRig, odoo: tuple[PostgresCluster, str, Path], tmp_path: Path
) -> None:
    cluster, _, _ = odoo
    with cluster.connect("odoo") as blocker:  # one table is busy, so that the dump has to wait
        with blocker.transaction():
            blocker.execute("LOCK TABLE res_partner_category IN ACCESS EXCLUSIVE MODE")
            process = rig.start()
            with cluster.connect("postgres") as admin:
                ended = 0
                give_up_at = time.monotonic() + 60
                while not ended and time.monotonic() < give_up_at:
                    ended = admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name = 'pg_dump'"
                    ).rowcount
            assert ended > 0
        said, _ = process.communicate(timeout=60)
    outcome = json.loads(said)
    assert outcome["kind"] == "TransientError"
    assert "Dumping database odoo" in outcome["error"]
    assert stored(rig) == []
    assert failure(rig) == outcome["error"]

    rig.take()
    restorable(rig, tmp_path)


@pytest.mark.parametrize("limit_bytes", [200_000, 6 * MIB])
def test_the_disk_is_full(
    rig: BackupRig, limit_bytes: int, tmp_path: Path
) -> None:  # while it dumps, and while it encrypts
    fill_filestore(rig.odoo_url, Path(rig.filestore), [b"f" * 8 * MIB])
    process = rig.start(limit_bytes=limit_bytes)
    said, _ = process.communicate(timeout=120)
    assert json.loads(said)["kind"] == "TransientError", said
    assert stored(rig) == []
    assert failure(rig)

    rig.take()
    restorable(rig, tmp_path)


def test_too_little_room_is_said_before_anything_is_dumped(
    rig: BackupRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresDumpSource, "needed_bytes", lambda _self, _kind: 10**18)
    with pytest.raises(TransientError, match=r"free, and up to 1000000000.0 GB may be needed"):
        rig.take()
    assert "Make room there" in failure(rig)


def test_a_damaged_file_of_odoo_s_fails_the_backup_with_its_name(rig: BackupRig) -> None:
    (name,) = fill_filestore(rig.odoo_url, Path(rig.filestore), [b"a damaged scan"])
    (Path(rig.filestore) / name).write_bytes(b"a damaged scam")
    try:
        with pytest.raises(PermanentError, match=f"{name}: it is damaged"):
            rig.take()
        assert name in failure(rig)
        assert stored(rig) == []
    finally:
        (Path(rig.filestore) / name).write_bytes(b"a damaged scan")


def test_a_file_that_is_missing_is_listed_and_the_rest_is_kept(
    rig: BackupRig, tmp_path: Path
) -> None:
    (name,) = fill_filestore(rig.odoo_url, Path(rig.filestore), [b"a lost scan"])
    (Path(rig.filestore) / name).unlink()
    rig.take()
    assert name in restorable(rig, tmp_path)["filestore"]["missing"]
    with psycopg.connect(rig.odoo_url) as odoo:
        odoo.execute("DELETE FROM ir_attachment WHERE store_fname = %s", [name])


class Tidying(PostgresDumpSource):
    """An Odoo that removes a file it needs no more, once the dump is made."""

    tidies: str | None = None

    def dump(self, kind: BackupKind, folder: Path, names: Path) -> Snapshot:
        snapshot = super().dump(kind, folder, names)
        if self.tidies:
            self.file(self.tidies).unlink()
            with psycopg.connect(self._conninfo) as odoo:
                odoo.execute("DELETE FROM ir_attachment WHERE store_fname = %s", [self.tidies])
            self.tidies = None
        return snapshot


def test_a_file_that_odoo_tidies_away_meanwhile_makes_the_next_try_dump_anew(
    rig: BackupRig, tmp_path: Path
) -> None:
    source = Tidying(rig.odoo_url, Path(rig.filestore))
    (source.tidies,) = fill_filestore(rig.odoo_url, Path(rig.filestore), [b"an old scan"])
    with pytest.raises(TransientError, match="Odoo removed it"):
        rig.take(source)
    rig.take(source)
    assert restorable(rig, tmp_path)["filestore"]["missing"] == []


def test_a_full_drive_ends_the_run_and_the_next_try_goes_on(
    rig: BackupRig, drive: Drive, tmp_path: Path
) -> None:
    drive.fault(method="PUT", path=CHUNK, nth=2, status=403, reason="storageQuotaExceeded", times=9)
    with pytest.raises((PermanentError, TransientError), match=r"(?i)full|space|quota"):
        rig.take()
    assert stored(rig) == []
    assert failure(rig)
    before = (rig.spool_folder / "archive.tar.age").stat()

    drive.reset()
    rig.take()

    restorable(rig, tmp_path)
    assert before.st_size == _row(rig)["size_bytes"]


def test_a_token_that_expires_half_way_is_renewed(
    rig: BackupRig, drive: Drive, tmp_path: Path
) -> None:
    drive.fault(method="PUT", path=CHUNK, nth=3, kind="expire_tokens")
    rig.take()
    restorable(rig, tmp_path)


def test_what_arrives_damaged_is_no_backup(rig: BackupRig, drive: Drive, tmp_path: Path) -> None:
    drive.fault(method="PUT", path=CHUNK, nth=2, kind="corrupt")
    with pytest.raises(TransientError, match="checksum"):
        rig.take()
    assert stored(rig) == []

    rig.take()
    restorable(rig, tmp_path)


def test_a_clock_that_is_set_back_makes_no_two_backups_one(rig: BackupRig, tmp_path: Path) -> None:
    class Back(PostgresDumpSource):
        def dump(self, kind: BackupKind, folder: Path, names: Path) -> Snapshot:
            snapshot = super().dump(kind, folder, names)
            return dataclasses.replace(snapshot, taken_at=datetime(2026, 10, 25, 1, tzinfo=UTC))

    first, second, third = rig.new(), rig.new(), rig.new()
    source = Back(rig.odoo_url, Path(rig.filestore))
    third.take()
    first.take(source)  # an hour that comes twice: the clock was set back
    second.take(source)

    names = stored(rig)
    assert len(set(names)) == 3
    parsed = [BackupName.parse(name) for name in names]
    assert len({name.id_start for name in parsed if name}) == 3
    for one in (first, second, third):
        restorable(one, tmp_path)
    with closing(rig.ledger()) as ledger:
        newest = ledger.newest_stored("odoo", BackupKind.FULL)
    assert newest is not None
    assert newest["backup_id"] == third.id
    # The drill will open the newest by its snapshot's time, and has the key of that one.
    assert DrillKeys(Path(rig.keys)).identity(third.id) is not None
    assert DrillKeys(Path(rig.keys)).identity(first.id) is None


@pytest.mark.parametrize("step", ["dumped", "encrypted", "uploaded", "manifest_uploaded"])
def test_after_a_power_cut_nothing_on_disk_is_believed(
    rig: BackupRig, step: str, tmp_path: Path
) -> None:
    process = rig.start(step)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    file = rig.spool_folder / "journal.json"
    journal = json.loads(file.read_text())
    journal["boot_id"] = "the boot before"
    file.write_text(json.dumps(journal))
    for half in rig.spool_folder.rglob("*"):  # what had not reached the disk
        if half.is_file() and half.name not in {"journal.json", "lock"}:
            half.write_bytes(b"")

    rig.take()

    restorable(rig, tmp_path)
    with closing(rig.vault()) as vault:
        assert len(vault.files()) == 2


def test_memory_stays_small_whatever_the_size(rig: BackupRig, tmp_path: Path) -> None:
    path = Path(rig.filestore)
    (name,) = fill_filestore(rig.odoo_url, path, [bytes(LARGE)])
    try:
        said, _ = rig.start().communicate(timeout=240)
        outcome: dict[str, Any] = json.loads(said)
        assert outcome["size_bytes"] > LARGE
        assert outcome["peak_rss_bytes"] < 200 * MIB
    finally:
        (path / name).unlink()
        with psycopg.connect(rig.odoo_url) as odoo:
            odoo.execute("DELETE FROM ir_attachment WHERE store_fname = %s", [name])


def _row(rig: BackupRig) -> dict[str, Any]:
    with closing(rig.ledger()) as ledger:
        row = ledger.get(rig.id)
    assert row is not None
    return row
