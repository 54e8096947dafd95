"""kill -9 at every step of a backup: the next try goes on, and one backup comes of it, whole."""

import hashlib
import json
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.backups import STEPS, BackupRig, backup_rig, fill_filestore, odoo_copy, restorable
from support.drive import Drive, running_drive
from support.postgres import PostgresCluster
from support.shared_db import Database, created, migrated

pytestmark = pytest.mark.stack

type Odoo = tuple[PostgresCluster, str, Path]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    with running_drive(tmp_path_factory.mktemp("drive")) as drive:
        yield drive


@pytest.fixture(scope="module")
def odoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Odoo]:
    with odoo_copy(tmp_path_factory.mktemp("odoo")) as odoo:
        cluster, name, filestore = odoo
        fill_filestore(cluster.url(name), filestore, [b"x" * 5_000_000, b"a scan"])
        yield odoo


@pytest.fixture(scope="module")
def template() -> Iterator[Database]:
    with migrated() as database:
        yield database


@pytest.fixture
def rig(template: Database, odoo: Odoo, drive: Drive, tmp_path: Path) -> Iterator[BackupRig]:
    with (
        created(template.name) as database,
        backup_rig(tmp_path, odoo, drive, database.sync_url) as rig,
    ):
        yield rig


def kill(rig: BackupRig, step: str) -> str:
    """Take the backup in another process, which dies at a step; return what it said last."""
    process = rig.start(step)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, said
    return said.strip()


def names(rig: BackupRig) -> list[str]:
    with closing(rig.vault()) as vault:
        return sorted(file.name for file in vault.files())


def both(manifest: dict[str, Any]) -> list[str]:
    return [f"{manifest['name']}.manifest.json", f"{manifest['name']}.tar.age"]


@pytest.mark.parametrize("step", STEPS)
def test_a_backup_killed_at_a_step_is_made_good_by_the_next_try(
    rig: BackupRig, step: str, tmp_path: Path
) -> None:
    assert kill(rig, step) == step
    with closing(rig.ledger()) as ledger:
        assert [row["backup_id"] for row in ledger.stored()] == ([rig.id] if step == "kept" else [])
    archive = rig.spool_folder / "archive.tar.age"
    is_encrypted = STEPS.index(step) >= STEPS.index("reserved")
    before = hashlib.sha256(archive.read_bytes()).hexdigest() if is_encrypted else None

    told = rig.take()

    assert told["state"] == "stored"
    manifest = restorable(rig, tmp_path)
    assert names(rig) == both(manifest)
    if before:  # it was not made again, which would have given other bytes
        assert manifest["encrypted_sha256"] == before
    assert not (rig.spool_folder / "journal.json").exists() or step == "kept"
    assert [path.name for path in Path(rig.keys).iterdir()] == [f"{rig.id}.key"]


def test_an_upload_killed_half_way_goes_on_where_it_stood(
    rig: BackupRig, drive: Drive, tmp_path: Path
) -> None:
    assert int(kill(rig, "sent=2097152").split()[1]) >= 2_097_152
    drive.reset()

    rig.take()

    restorable(rig, tmp_path)
    asked, *sent = [one["content_range"] for one in drive.log() if one["method"] == "PUT"][:2]
    assert asked.startswith("bytes */")
    assert int(sent[0].removeprefix("bytes ").split("-")[0]) >= 2_097_152


@pytest.mark.parametrize(
    "step", ["dumped", "encrypted", "uploaded", "manifest_uploaded", "keeping"]
)
def test_the_next_backup_cleans_up_after_one_that_nobody_goes_on_with(
    rig: BackupRig, step: str, tmp_path: Path
) -> None:
    kill(rig, step)

    later = rig.new()
    later.take()

    manifest = restorable(later, tmp_path)
    with closing(rig.ledger()) as ledger:
        left = ledger.get(rig.id)
        assert left is not None
        if left["state"] == "stored":  # all of it was there, and only a line was missing
            restorable(rig, tmp_path)
            assert len(names(rig)) == 4
        else:
            assert left["state"] == "failed"
            assert names(rig) == both(manifest)
        assert (left["state"] == "stored") == (step == "keeping")
    assert not rig.spool_folder.exists()


def test_of_two_runs_at_once_one_waits_for_another_night(rig: BackupRig, tmp_path: Path) -> None:
    first, second = rig.start(), rig.new().start()
    outcomes = [json.loads(one.communicate(timeout=120)[0]) for one in (first, second)]

    refused = [outcome for outcome in outcomes if "error" in outcome]
    stored = [outcome for outcome in outcomes if "error" not in outcome]
    assert len(stored) == 1
    assert [one["kind"] for one in refused] == ["TransientError"]
    assert "another process takes a backup" in refused[0]["error"]
    with closing(rig.ledger()) as ledger:
        assert [str(row["backup_id"]) for row in ledger.stored()] == [stored[0]["backup_id"]]
    assert len(names(rig)) == 2
