"""A copy of the stack's Airflow database, for tests that write into it.

from support.airflow_db import airflow_db  # noqa: F401  in a conftest.py or a test
"""

import json
import subprocess
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from support.shared_db import on_database
from support.stack_env import needed

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
