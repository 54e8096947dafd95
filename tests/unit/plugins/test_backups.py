"""The wiring of backups: which Odoo, which vault, and one id for all tries of a run."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import clinic_airflow.backups as wiring
import pytest
from airflow.sdk import BaseHook, Connection, Variable
from clinic.backups.keys import new_pair
from clinic.backups.model import BackupKind
from clinic.backups.settings import BackupSettings
from clinic.backups.take import Take
from clinic.clients.odoo_dump_http import HttpDumpSource
from clinic.clients.odoo_dump_postgres import PostgresDumpSource
from clinic.errors import PermanentError

RECIPIENT = new_pair()[1]
SETTINGS = BackupSettings(recipients=(RECIPIENT,))
RUN = SimpleNamespace(run_id="manual__1", run_type="manual", triggering_user_name="ana")


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> dict[str, Connection]:
    found = {
        "odoo_database": Connection(
            conn_id="odoo_database",
            conn_type="clinic_odoo_database",
            host="/run/postgresql",
            login="odoo",
            schema="odoo",
            extra=json.dumps({"filestore": "/srv/filestore"}),
        ),
        "odoo_database_manager": Connection(
            conn_id="odoo_database_manager",
            conn_type="http",
            host="https://odoo.example",
            schema="odoo",
            password="master",
        ),
        "google_cloud_drive": Connection(conn_id="google_cloud_drive", conn_type="clinic_drive"),
    }
    monkeypatch.setattr(BaseHook, "get_connection", found.__getitem__)
    return found


def test_the_database_itself_is_the_source(connections: dict[str, Connection]) -> None:
    found = wiring.source(SETTINGS)
    assert isinstance(found, PostgresDumpSource)
    assert found.database == "odoo"
    with pytest.raises(PermanentError, match="/srv/filestore/odoo is not a folder"):
        found.file("ab/x")


def test_or_its_database_manager(connections: dict[str, Connection]) -> None:
    found = wiring.source(SETTINGS.model_copy(update={"source": "http"}))
    assert isinstance(found, HttpDumpSource)
    assert found.database == "odoo"


@pytest.mark.parametrize(
    ("conn_id", "field", "source"),
    [
        ("odoo_database", "login", "postgres"),
        ("odoo_database", "schema", "postgres"),
        ("odoo_database_manager", "password", "http"),
        ("odoo_database_manager", "schema", "http"),
    ],
)
def test_a_connection_that_lacks_a_field_says_which(
    connections: dict[str, Connection], conn_id: str, field: str, source: str
) -> None:
    setattr(connections[conn_id], field, None)
    with pytest.raises(PermanentError, match=f"'{conn_id}' has no {field}"):
        wiring.source(SETTINGS.model_copy(update={"source": source}))


def test_each_try_of_a_run_takes_the_same_backup_and_each_run_another(
    connections: dict[str, Connection], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(Variable, "get", lambda _, **__: SETTINGS.model_dump_json())
    monkeypatch.setattr(wiring.SharedDbHook, "conninfo", lambda _: "")
    vault = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(wiring.DriveHook, "get_vault", lambda _, __: vault)
    made: list[Any] = []
    take = create_autospec(Take, instance=True)
    take.run.return_value = {"state": "stored"}
    monkeypatch.setattr(wiring, "Take", lambda *arguments: made.append(arguments) or take)

    for run in (RUN, RUN, SimpleNamespace(**vars(RUN) | {"run_id": "manual__2"})):
        form = {"kind": "database", "note": "before the upgrade"}
        assert wiring.take_backup(form, run, {}) == {"state": "stored"}

    ids = [call.args[0] for call in take.run.call_args_list]
    assert ids[0] == ids[1] != ids[2]
    request = take.run.call_args.args[1]
    assert (request.kind, request.note) == (BackupKind.DATABASE, "before the upgrade")
    assert request.requested_by == "ana"
    assert made[0][3] == (RECIPIENT,)
    assert made[0][4] == tmp_path / "spool" / "backups"
