"""The tasks of restore_odoo and drill_restore, with connections as Airflow has them."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from clinic.alerts.cause import cause_of
from clinic.clients.drive_vault import DriveVault
from clinic.errors import PermanentError
from clinic_airflow import restores
from clinic_airflow.pick import PickOperator
from psycopg.conninfo import conninfo_to_dict
from support.restoring import Rig, manifest_of
from support.stack_env import needed


def connection(conn_type: str, url: str, **more: Any) -> str:
    known = conninfo_to_dict(url)
    return json.dumps(
        {
            "conn_type": conn_type,
            "host": known["host"],
            "port": int(known["port"]),
            "login": known["user"],
            "password": known["password"],
            "schema": known["dbname"],
        }
        | more
    )


class Run:
    """What a task's context gives; XComs are kept as Airflow keeps them."""

    def __init__(self, run_id: str) -> None:
        self.dag_run = SimpleNamespace(run_id=run_id, triggering_user_name="sistemas1")
        self.xcom: dict[tuple[str, str], Any] = {}

    def ti(self, task_id: str) -> Any:
        ti = create_autospec(RuntimeTaskInstance, instance=True)
        ti.try_number, ti.max_tries = 1, 3
        ti.xcom_push.side_effect = lambda key, value: self.xcom.update({(task_id, key): value})
        ti.xcom_pull.side_effect = lambda task_ids, key="return_value": self.xcom.get(
            (task_ids, key)
        )
        return ti


@pytest.fixture
def house(rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Rig:
    drive = {
        "keyfile_dict": Path(needed("DRIVE_KEYFILE")).read_text(),
        "drive_id": needed("DRIVE_SHARED_DRIVE_ID"),
        "api_endpoint": needed("DRIVE_API_URL"),
    }
    odoo = {
        "filestore": str(rig.filestore),
        "odoo_command": ["odoo", "-c", needed("ODOO_CONF")],
    }
    found = {
        "GOOGLE_CLOUD_DRIVE": json.dumps({"conn_type": "clinic_drive", "extra": drive}),
        "ODOO_DATABASE": connection("postgres", needed("ODOO_DB_URL"), extra=odoo),
        "SHARED_DB": connection("clinic_shared_db", rig.stored.database.sync_url),
    }
    for name, value in found.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", value)
    settings = {"recipients": [rig.stored.recipient], "folder": rig.stored.folder}
    monkeypatch.setenv("AIRFLOW_VAR_CLINIC_BACKUP_SETTINGS", json.dumps(settings))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", needed("CA_FILE"))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    keys = tmp_path / "airflow" / "backup_keys"
    keys.mkdir(parents=True)
    backup_id = manifest_of(rig).backup_id
    (keys / f"{backup_id}.key").write_text(rig.stored.drill_identity or "")
    return rig


def params(**more: str) -> dict[str, str]:
    return {"backup": "", "target": "prueba_airflow", "neutralise": "when it is a copy"} | more


def test_a_person_chooses_and_approves_what_is_replaced(house: Rig) -> None:
    house.made.add("prueba_airflow")
    run = Run("manual__1")
    assert restores.list_backups(params(), run.ti("look")) == "choose"
    (first, *_) = run.xcom["look", "options"]
    assert first.startswith(house.stored.name)
    # What the operator hands on is the option; the person's answer comes as Airflow gives it.
    run.xcom["choose", "return_value"] = first
    assert restores.next_step(params(), run.ti("decide")) == "restore"
    report = restores.restore_backup(params(), run.dag_run, run.ti("restore"))
    assert "all equal" in report["text"]
    assert report["neutralised"]
    (row,) = house.stored.database.query("SELECT * FROM restores WHERE target = 'prueba_airflow'")
    assert (row["state"], row["requested_by"]) == ("done", "sistemas1")
    assert row["report"]["compared"]["differences"] == []

    again = Run("manual__2")
    assert restores.list_backups(params(backup="newest"), again.ti("look")) == "decide"
    assert restores.next_step(params(), again.ti("decide")) == "approve"
    assert "prueba_airflow_before_" in again.xcom["decide", "question"]
    with pytest.raises(PermanentError, match="already"):  # nobody has approved
        restores.restore_backup(params(), again.dag_run, again.ti("restore"))
    row = house.stored.database.query(
        "SELECT * FROM restores WHERE state = 'failed' AND target = 'prueba_airflow'"
    )[0]
    assert "already" in row["error"]


def test_without_the_backups_own_key_the_connection_has_to_have_one(
    house: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "airflow" / "backup_keys")
    run = Run("manual__3")
    given = params(backup=house.stored.name, target="prueba_llave")
    house.made.add("prueba_llave")
    restores.list_backups(given, run.ti("look"))
    with pytest.raises(PermanentError, match="backup_identity"):
        restores.restore_backup(given, run.dag_run, run.ti("restore"))
    identity = json.dumps({"conn_type": "generic", "password": house.stored.identity})
    monkeypatch.setenv("AIRFLOW_CONN_BACKUP_IDENTITY", identity)
    report = restores.restore_backup(given, run.dag_run, run.ti("restore"))
    assert report["compared"]["differences"] == []
    assert house.stored.identity not in json.dumps(report)


def test_a_drill_leaves_its_row_and_nothing_else(house: Rig) -> None:
    run = Run("scheduled__1")
    before = house.names()
    told = restores.hold_drill(run.dag_run, run.ti("drill"))
    assert told["passed"]
    (row,) = house.stored.database.query("SELECT * FROM restore_drills WHERE passed")
    manifest = manifest_of(house)
    assert row["passed"]
    assert row["tables_compared"] == len(manifest.tables)
    assert row["rows_compared"] == sum(manifest.tables.values())
    assert 0 < row["restore_s"] < row["total_s"]
    assert house.names() == before


def test_a_drill_with_a_damaged_manifest_is_one_that_was_not_passed(
    house: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = DriveVault.read
    monkeypatch.setattr(DriveVault, "read", lambda *args: read(*args)[:-1] + b"x")
    run = Run("scheduled__2")
    with pytest.raises(PermanentError, match="its bytes are not those") as failed:
        restores.hold_drill(run.dag_run, run.ti("drill"))
    # A backup that cannot be restored is no outage of where it lies, whatever the reason names.
    assert cause_of("clinic.errors.PermanentError", f"{failed.value} from Drive").startswith(
        "error"
    )
    (row,) = house.stored.database.query("SELECT * FROM restore_drills WHERE NOT passed")
    assert "its bytes are not those that were stored" in row["differences"][0]["found"]
    (restore,) = house.stored.database.query(
        "SELECT * FROM restores WHERE state = 'failed' AND purpose = 'drill'"
    )
    assert restore["restore_id"] == row["drill_id"]


def test_the_picker_offers_what_was_found_and_returns_the_choice() -> None:
    pick = PickOperator(task_id="choose", subject="Which?", options_from="look")
    run = Run("manual__4")
    run.xcom["look", "options"] = ["b (2 MB)", "a (1 MB)"]
    event = {
        "chosen_options": ["a (1 MB)"],
        "params_input": {},
        "responded_at": datetime.now(UTC),
        "responded_by_user": None,
    }
    context: Any = {"ti": run.ti("choose")}
    assert pick.execute_complete(context, event) == "a (1 MB)"
    assert pick.options == ["b (2 MB)", "a (1 MB)"]
    with pytest.raises(ValueError, match="not in"):
        pick.execute_complete(context, event | {"chosen_options": ["c"]})
