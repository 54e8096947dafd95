"""Cleaning a real Airflow database: old runs go, the newest and the unfinished stay."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import psycopg
import pytest
from clinic_airflow import housekeeping
from psycopg import sql
from support.shared_db import on_database
from support.stack_env import needed

pytestmark = [pytest.mark.stack, pytest.mark.timeout(200)]

RUN = """
INSERT INTO dag_run (dag_id, run_id, run_type, triggered_by, state, logical_date, start_date,
    queued_at, run_after, log_template_id, clear_number, scheduled_by_job_id, conf)
VALUES (%s, %s, 'scheduled', 'TIMETABLE', %s, %s, %s, %s, %s,
    (SELECT max(id) FROM log_template), 0, NULL, '{}')
"""


@pytest.fixture
def airflow_db(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A copy of the stack's Airflow database, and the connection that names it."""
    name = f"airflow_test_{uuid.uuid4().hex[:8]}"
    source, admin = needed("AIRFLOW_DB_URL"), needed("POSTGRES_ADMIN_URL")
    source = source.replace("postgresql+psycopg2://", "postgresql://")
    parts = urlsplit(source)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(parts.username)
            )
        )
        try:
            url = on_database(source, name)
            dump = subprocess.run(
                ["pg_dump", "--no-owner", source], check=True, capture_output=True
            )
            subprocess.run(
                ["psql", "--quiet", "--set=ON_ERROR_STOP=1", url],
                input=dump.stdout,
                check=True,
                capture_output=True,
            )
            fields = {
                "conn_type": "postgres", "host": parts.hostname, "port": parts.port,
                "login": parts.username, "password": parts.password, "schema": name,
            }  # fmt: skip
            monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_METADATA", json.dumps(fields))
            yield url
        finally:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


def runs_left(url: str, runs: dict[tuple[str, str], tuple[str, int]]) -> set[tuple[str, str]]:
    """Put these runs (state, age in days) into the database, clean it, and return what is left."""
    now = datetime.now(UTC)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM dag_run")
        for (dag_id, run_id), (state, days) in runs.items():
            at = now - timedelta(days=days)
            connection.execute(RUN, (dag_id, run_id, state, at, at, at, at))
        housekeeping.clean_metadata("airflow_metadata", keep_days=7)
        archives = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_airflow\\_deleted%'"
        ).fetchone()
        assert archives == (0,)
        return set(connection.execute("SELECT dag_id, run_id FROM dag_run").fetchall())


def test_old_runs_go_and_the_newest_of_each_dag_stays(airflow_db: str) -> None:
    left = runs_left(
        airflow_db,
        {
            ("sync", "old"): ("success", 30),
            ("sync", "old_failed"): ("failed", 20),
            ("sync", "young"): ("success", 2),
            ("sync", "now"): ("running", 0),
            ("rare", "its_only_one"): ("success", 60),
        },
    )
    assert left == {("sync", "young"), ("sync", "now"), ("rare", "its_only_one")}


def test_a_run_that_goes_on_stays_with_all_that_is_younger(
    airflow_db: str, caplog: pytest.LogCaptureFixture
) -> None:
    left = runs_left(
        airflow_db,
        {
            ("sync", "older"): ("success", 40),
            ("sync", "younger"): ("success", 20),
            ("sync", "young"): ("success", 2),
            ("long", "still_running"): ("running", 30),
        },
    )
    assert left == {("sync", "younger"), ("sync", "young"), ("long", "still_running")}
    assert "run still_running of long" in caplog.text
