"""``clinic backup``: what an administrator does without Airflow."""

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from clinic.cli import app
from clinic.errors import PermanentError
from support.backups import BackupRig, restorable
from support.shared_db import Database
from typer.testing import CliRunner, Result

pytestmark = pytest.mark.stack


@pytest.fixture
def environment(rig: BackupRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `make up` writes down, for this test's own servers."""
    folder = tmp_path / "filestore"
    folder.mkdir()
    (folder / "odoo").symlink_to(rig.filestore)
    for name, value in {
        "SHARED_DB_SYNC_URL": rig.shared_url,
        "ODOO_DB_URL": rig.odoo_url,
        "ODOO_FILESTORE": folder,
        "CLINIC_AIRFLOW_HOME": tmp_path / "airflow",
        "DRIVE_KEYFILE": rig.drive_keyfile,
        "DRIVE_SHARED_DRIVE_ID": rig.drive_id,
        "DRIVE_API_URL": rig.drive_url,
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("BACKUP_IDENTITY_FILE", raising=False)
    return tmp_path


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["backup", *words], catch_exceptions=True)


def test_a_key_a_backup_and_its_list(rig: BackupRig, environment: Path) -> None:
    key = environment / "identity.txt"
    key.unlink()  # the rig's own
    made = call("new-key", str(key))
    assert made.exit_code == 0
    recipient = made.output.split()[0]
    assert recipient.startswith("age1")
    assert "SECRET" not in made.output
    assert key.stat().st_mode & 0o777 == 0o600
    again = call("new-key", str(key))
    assert isinstance(again.exception, PermanentError)

    taken = call("run", "--identity-file", str(key), "--note", "by hand")
    assert taken.exit_code == 0, taken.exception

    with closing(rig.ledger()) as ledger:
        (row,) = ledger.stored()
    assert row["manifest"]["recipients"][0] == recipient
    assert row["note"] == "by hand"
    restorable(replace(rig, backup_id=str(row["backup_id"])), environment)  # by the new key
    _, listed = call("list").output.splitlines()
    assert listed.split("\t")[1:4] == ["stored", "full", row["name"]]
    assert re.fullmatch(r"[1-9][0-9]*\.[0-9] [KMG]iB", listed.split("\t")[4])
    assert (environment / "airflow" / "backup_keys" / f"{row['backup_id']}.key").exists()


def test_nobody_s_key_is_asked_for(environment: Path) -> None:
    refused = call("run")
    assert isinstance(refused.exception, PermanentError)
    assert "clinic backup new-key" in " ".join(str(refused.exception).split())


def test_a_lost_database_lists_what_the_vault_has(
    rig: BackupRig, environment: Path, database: Database
) -> None:
    others = [rig.new() for _ in range(3)]
    for one in others:
        one.take()
    lost, damaged, known = others
    with closing(rig.ledger()) as ledger, closing(rig.vault()) as vault:
        archive = (ledger.get(damaged.id) or {})["file_id"]
        before = ledger.get(lost.id)
        vault.trash(archive)
    database.query(
        "DELETE FROM backups WHERE backup_id = ANY(%s)", [lost.backup_id, damaged.backup_id]
    )

    done = call("adopt")

    assert done.exit_code == 0, done.exception
    assert "1 listed again, 1 were known." in done.output
    assert "no archive of its size and sum is there" in done.output
    with closing(rig.ledger()) as ledger:
        assert {row["backup_id"] for row in ledger.stored()} == {lost.id, known.id}
        after = ledger.get(lost.id)
    assert before is not None
    assert after is not None
    same = ("name", "taken_at", "file_id", "manifest_file_id", "url", "size_bytes", "manifest")
    assert {key: before[key] for key in same} == {key: after[key] for key in same}
    restorable(lost, environment)
