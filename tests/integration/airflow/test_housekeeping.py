"""Cleaning a real Airflow database: old runs go, the newest and the unfinished stay."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from clinic_airflow import housekeeping
from support.airflow_db import RUN

pytestmark = [pytest.mark.stack, pytest.mark.timeout(200)]


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
