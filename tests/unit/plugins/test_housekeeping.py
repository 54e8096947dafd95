"""Cleaning: which log files go, and how `airflow db clean` is called."""

import json
import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from clinic.errors import PermanentError, TransientError
from clinic_airflow import housekeeping

DAY_S = 86_400


def a_file(path: Path, age_days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    at = time.time() - age_days * DAY_S
    os.utime(path, (at, at))
    return path


def test_old_logs_and_the_folders_they_leave_empty_go(tmp_path: Path) -> None:
    run = "dag_id=sync_inventory/run_id={}/task_id=mirror"
    old = a_file(tmp_path / run.format("old") / "attempt=1.log", 8)
    young = a_file(tmp_path / run.format("young") / "attempt=1.log", 6)
    for folder in (old.parent, old.parent.parent):
        os.utime(folder, (0, 0))
    other = a_file(tmp_path / "keep.txt", 99)
    assert housekeeping.clean_logs(7, tmp_path) == 1
    assert not old.exists()
    assert young.exists()
    assert other.exists()


def test_folders_go_once_they_are_old_too(tmp_path: Path) -> None:
    folder = tmp_path / "dag_id=a" / "run_id=b"
    folder.mkdir(parents=True)
    os.utime(folder, (0, 0))
    (tmp_path / "dag_id=c" / "run_id=just_begun").mkdir(parents=True)
    housekeeping.clean_logs(7, tmp_path)
    assert not folder.exists()
    assert (tmp_path / "dag_id=c" / "run_id=just_begun").exists()
    assert tmp_path.exists()


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    outside = a_file(tmp_path / "outside" / "precious.log", 99)
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "latest").symlink_to(outside.parent)
    (logs / "link.log").symlink_to(outside)
    assert housekeeping.clean_logs(7, logs) == 0
    assert outside.exists()


@pytest.mark.parametrize("keep_days", [0, -1])
def test_at_least_a_day_is_kept(tmp_path: Path, keep_days: int) -> None:
    with pytest.raises(PermanentError, match="at least 1"):
        housekeeping.clean_logs(keep_days, tmp_path)
    with pytest.raises(PermanentError, match="at least 1"):
        housekeeping.clean_metadata("airflow_metadata", keep_days)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    calls: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], *, env: dict[str, str], **_: Any) -> Any:
        calls.append((command, env))
        return subprocess.CompletedProcess(command, 0, "Deleted 3 rows\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    fields = {
        "conn_type": "postgres", "host": "127.0.0.1", "port": 5432, "login": "airflow",
        "password": "p@ss/word", "schema": "airflow",
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_METADATA", json.dumps(fields))
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "client")
    return calls


def test_the_command_gets_the_address_and_deletes_nothing_younger_than_a_running_run(
    ran: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    began = datetime(2026, 1, 2, tzinfo=UTC)
    monkeypatch.setattr(housekeeping, "_oldest_unfinished", lambda *_: ("a_dag", "a_run", began))
    housekeeping.clean_metadata("airflow_metadata", 7)
    ((command, environment),) = ran
    assert environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == (
        "postgresql+psycopg2://airflow:p%40ss%2Fword@127.0.0.1:5432/airflow"
    )
    assert "_AIRFLOW_PROCESS_CONTEXT" not in environment
    assert "p@ss" not in " ".join(command)  # every user of the machine can list commands
    assert command[command.index("--clean-before-timestamp") + 1] == began.isoformat()
    tables = command[command.index("--tables") + 1].split(",")
    assert {"dag_run", "task_instance", "xcom", "asset_event", "log", "job"} <= set(tables)
    assert not {"dag", "dag_version", "trigger"} & set(tables)


def test_a_command_that_fails_is_reported(
    ran: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_oldest_unfinished", lambda *_: None)
    for status, error in ((1, TransientError), (-9, TransientError), (2, PermanentError)):
        monkeypatch.setattr(
            subprocess, "run", lambda *a, s=status, **k: subprocess.CompletedProcess(a, s, "", "no")
        )
        with pytest.raises(error, match=f"exit status {status}"):
            housekeeping.clean_metadata("airflow_metadata", 7)
    assert ran == []


@pytest.mark.parametrize(
    ("raised", "meaning", "says"),
    [
        (psycopg.OperationalError("connection refused"), TransientError, "connection refused"),
        (
            psycopg.OperationalError("password authentication failed"),
            PermanentError,
            "Admin, Connections",
        ),
        (psycopg.errors.UndefinedTable("no dag_run"), PermanentError, "no dag_run"),
    ],
)
def test_what_the_database_says_is_told_as_our_own_error(
    ran: list[tuple[list[str], dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    raised: psycopg.Error,
    meaning: type[Exception],
    says: str,
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise raised

    monkeypatch.setattr(psycopg, "connect", refuse)
    with pytest.raises(meaning, match=f"Reading Airflow's database.*{says}"):
        housekeeping.clean_metadata("airflow_metadata", 7)
    assert ran == []


def test_the_tables_are_ones_that_airflow_can_clean() -> None:
    from airflow.utils.db_cleanup import config_dict

    assert set(housekeeping.TABLES) <= set(config_dict)
