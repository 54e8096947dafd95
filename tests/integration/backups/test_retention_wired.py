"""Expiry and check by Airflow's connections: the Drive emulator and a real database behind them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from clinic.backups.keys import DrillKeys, new_pair
from clinic.backups.model import BackupKind
from clinic.clients.backups_db import BackupsDb
from clinic.errors import TransientError
from clinic_airflow import retention
from clinic_airflow.hooks.drive import DriveHook
from support.drive import Drive, running_drive
from support.kept_backups import Keeper
from support.shared_db import Database

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    with running_drive(tmp_path_factory.mktemp("drive")) as drive:
        yield drive


@pytest.fixture
def settings() -> dict[str, Any]:
    keep = {"last": 1, "daily": 2, "weekly": 0, "monthly": 0, "yearly": 0}
    return {"recipients": [new_pair()[1]], "retention": keep}


@pytest.fixture
def keeper(
    server: Drive, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
) -> Iterator[Keeper]:  # fmt: skip
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv(
        "AIRFLOW_VAR_CLINIC_BACKUP_SETTINGS",
        json.dumps(settings | {"folder": f"Copias/{tmp_path.name}"}),
    )
    url = urlsplit(database.sync_url)
    place = {
        "host": url.hostname,
        "port": url.port,
        "login": url.username,
        "password": url.password,
    }
    connections = {
        "SHARED_DB": {"conn_type": "postgres", "schema": database.name} | place,
        "ODOO_DATABASE": {"conn_type": "postgres", "schema": "odoo"} | place,
        "GOOGLE_CLOUD_DRIVE": {
            "conn_type": "clinic_drive",
            "extra": {
                "api_endpoint": server.url, "drive_id": server.drive_id,
                "keyfile_dict": server.keyfile.read_text(),
            },
        },
    }  # fmt: skip
    for name, value in connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(value))
    vault = DriveHook().get_vault(f"Copias/{tmp_path.name}")
    db = BackupsDb(database.sync_url)
    yield Keeper(server, vault, db, tmp_path)
    server.reset()
    vault.close()
    db.close()


def started(how: str) -> Any:
    return SimpleNamespace(run_type=how)


@pytest.mark.parametrize(
    ("how", "tick", "is_done"),
    [("scheduled", True, True), ("manual", True, False), ("manual", False, True)],
)
def test_by_hand_it_only_says_what_it_would_do_and_by_night_it_does_it(
    keeper: Keeper, how: str, tick: bool, is_done: bool
) -> None:
    for n in range(3):
        keeper.keep(NOW - n * DAY)
    told = retention.expire({"dry_run": tick}, started(how))
    assert (told["dry_run"], told["kept"], told["expired"]) == (not is_done, 2, 1)
    assert len(keeper.db.stored()) == (2 if is_done else 3)
    assert len(keeper.names()) == (4 if is_done else 6)


def open_alerts(database: Database) -> list[str]:
    return [
        row["key"]
        for row in database.query("SELECT key FROM alerts WHERE resolved_at IS NULL ORDER BY key")
    ]


def drilled(keeper: Keeper, row: dict[str, Any], tmp_path: Path) -> None:
    DrillKeys(tmp_path / "backup_keys").new(row["backup_id"])
    restore_id = row["backup_id"]
    keeper.db.start_restore(
        restore_id, row["backup_id"], purpose="drill", target="x", requested_by="schedule"
    )
    keeper.db.finish_restore(restore_id)
    keeper.db.add_drill(
        restore_id, row["backup_id"], passed=True, restore_s=60, total_s=90, tables_compared=1,
        rows_compared=5, files_compared=0,
    )  # fmt: skip


def test_a_breach_is_an_alert_until_it_is_mended(
    keeper: Keeper, database: Database, tmp_path: Path
) -> None:
    assert retention.check_backups(NOW) == ["backups/rpo"]
    assert open_alerts(database) == ["backups/rpo"]
    row = keeper.keep(NOW - timedelta(hours=3))
    drilled(keeper, row, tmp_path)
    assert retention.check_backups(NOW) == []
    assert open_alerts(database) == []
    keeper.change(row["file_id"], trashed=True)
    # The only full backup is not there: it is as if there were none.
    assert retention.check_backups(NOW) == ["backups/rpo", "backups/gone"]
    assert open_alerts(database) == ["backups/gone", "backups/rpo"]
    keeper.change(row["file_id"], trashed=False)
    assert retention.check_backups(NOW) == []
    assert open_alerts(database) == []


def test_a_new_installations_first_backup_is_waited_for(keeper: Keeper, database: Database) -> None:
    assert retention.check_backups(None) == []
    backup_id = uuid4()
    keeper.db.begin(backup_id, database="odoo", kind=BackupKind.FULL, requested_by="schedule")
    assert retention.check_backups(NOW) == []
    keeper.db.failed(backup_id, "the disk is full")
    assert retention.check_backups(NOW) == ["backups/rpo"]


def test_while_drive_is_away_what_is_open_about_it_stays_open(
    keeper: Keeper, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = keeper.keep(NOW - timedelta(hours=3))
    drilled(keeper, row, tmp_path)
    keeper.upload(None, NOW, BackupKind.FULL, "notas.txt", b"a person's")
    assert retention.check_backups(NOW) == ["backups/strangers"]
    keeper.drive.fault(path="/drive/v3/about", kind="status", status=503)
    with pytest.raises(TransientError, match="HTTP 503"):
        retention.check_backups(NOW)
    assert open_alerts(database) == ["backups/strangers"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"path": "/token", "status": 400, "reason": "invalid_grant"}, "Google gives no token"),
        ({"path": "/about", "status": 401, "reason": "authError"}, "key and scope"),
        (
            {"path": "/about", "status": 403, "reason": "accessNotConfigured"},
            "Drive API is switched off",
        ),
    ],
)
def test_a_refused_account_is_an_alert_that_says_why(
    keeper: Keeper, database: Database, tmp_path: Path, fault: dict[str, Any], said: str
) -> None:
    drilled(keeper, keeper.keep(NOW - timedelta(hours=3)), tmp_path)
    keeper.drive.fault(times=9, kind="status", **fault)
    assert retention.check_backups(NOW) == ["backups/vault-refused"]
    (row,) = database.query("SELECT detail FROM alerts WHERE resolved_at IS NULL")
    assert "clinic drive check" in row["detail"]
    assert said in row["detail"]
    keeper.drive.reset()
    assert retention.check_backups(NOW) == []
    assert open_alerts(database) == []
