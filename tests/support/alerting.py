"""A house with everything that alerts touch, and Airflow's connections to it in the environment.

``python -m support.alerting`` sends what is due, once, in a process of its own.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from clinic_airflow import alerts, failures
from support.airflow_db import RUN
from support.mail_server import MailServer
from support.shared_db import Database
from support.stack_env import ROOT
from support.webhook_receiver import SECRET, Receiver

EMAILS = ("ana@clinica.example", "ben@clinica.example")

TASK = """
INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, try_number, max_tries, state,
    start_date, end_date, pool, pool_slots)
VALUES (%s, %s, %s, %s, -1, 1, 0, %s, %s, %s, 'default_pool', 1)
"""
DAG = """
INSERT INTO dag (dag_id, is_paused, is_stale, bundle_name, max_active_tasks,
    has_task_concurrency_limits, max_consecutive_failed_dag_runs, exceeds_max_non_backfill,
    fail_fast, timetable_type, partition_mapper_info)
VALUES (%s, false, false, (SELECT min(name) FROM dag_bundle), 16, false, 0, false, false, '', '[]')
ON CONFLICT DO NOTHING
"""


@dataclass
class House:
    """What alerts touch."""

    database: Database
    airflow_db: str
    mails: MailServer
    receiver: Receiver
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def furnish(
        cls,
        database: Database,
        airflow_db: str,
        mails: MailServer,
        receiver: Receiver,
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> "House":
        """Connect everything; what was in the tables of Airflow's copy goes."""
        house = cls(database, airflow_db, mails, receiver)
        with psycopg.connect(airflow_db, autocommit=True) as connection:
            connection.execute("DELETE FROM dag_run")
            connection.execute("DELETE FROM import_error")
            bundle = "INSERT INTO dag_bundle (name, active) VALUES ('dags-folder', true)"
            connection.execute(f"{bundle} ON CONFLICT DO NOTHING")
        smtp = {"disable_ssl": True, "disable_tls": True, "from_email": "clinica@clinica.example"}
        house.set(monkeypatch, "AIRFLOW_HOME", str(home))
        house.set(monkeypatch, "AIRFLOW__API__BASE_URL", "https://airflow.example")
        house.set(monkeypatch, "AIRFLOW_CONN_SHARED_DB", connection_to(database.sync_url))
        house.set(monkeypatch, "AIRFLOW_CONN_AIRFLOW_METADATA", connection_to(airflow_db))
        house.set(monkeypatch, "AIRFLOW_CONN_SMTP_DEFAULT", json.dumps({
            "conn_type": "smtp", "host": "127.0.0.1", "port": mails.controller.port,
            "extra": smtp,
        }))  # fmt: skip
        house.set(monkeypatch, "AIRFLOW_CONN_CLINIC_ALERT_WEBHOOK", json.dumps({
            "conn_type": "generic", "host": f"http://127.0.0.1:{receiver.port}/alerts",
            "password": SECRET, "extra": {"allow_private": True},
        }))  # fmt: skip
        settings = json.dumps({"emails": EMAILS})
        house.set(monkeypatch, "AIRFLOW_VAR_CLINIC_ALERT_SETTINGS", settings)
        return house

    def set(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        """Set a variable of the environment, here and for processes."""
        monkeypatch.setenv(name, value)
        self.environment[name] = value

    # What happens

    def task(self, dag_id: str, state: str, *, task_id: str = "drain", ago_s: float = 120) -> str:
        """Let a task end in Airflow's tables; return its run."""
        run_id, at = f"run_{uuid4().hex[:8]}", datetime.now(UTC) - timedelta(seconds=ago_s)
        with psycopg.connect(self.airflow_db, autocommit=True) as connection:
            connection.execute(RUN, (dag_id, run_id, state, at, at, at, at))
            connection.execute(TASK, (uuid4(), dag_id, run_id, task_id, state, at, at))
            connection.execute(DAG, (dag_id,))
        return run_id

    def fail(
        self, dag_id: str, error: BaseException, *, task_id: str = "drain", ago_s: float = 120
    ) -> None:
        """Let a task fail as it does in Airflow: in its tables, and with its own report."""
        run_id = self.task(dag_id, "failed", task_id=task_id, ago_s=ago_s)
        at = datetime.now(UTC) - timedelta(seconds=ago_s)
        ti = SimpleNamespace(dag_id=dag_id, task_id=task_id, run_id=run_id, map_index=-1,
                             try_number=1, end_date=at)  # fmt: skip
        failures.report_failure({"ti": ti, "exception": error})

    def send(self) -> dict[str, object]:
        """Run what the DAG runs."""
        return alerts.send_alerts()

    def start_sending(self) -> subprocess.Popen[bytes]:
        """Run it in a process of its own, to be killed."""
        paths = ("include", "plugins", "providers/rabbitmq/src", "tests")
        return subprocess.Popen(
            [sys.executable, "-m", "support.alerting"],
            env=os.environ
            | self.environment
            | {"PYTHONPATH": ":".join(str(ROOT / path) for path in paths)},
        )

    def let_pass(self, span: timedelta) -> None:
        """Put everything that was written down so far into the past."""
        for table, columns in {
            "alerts": ("first_at", "last_at", "resolved_at"),
            "alert_messages": ("created_at",),
            "alert_deliveries": ("next_at",),
            "alert_looks": ("looked_to",),
        }.items():
            changes = ", ".join(f"{column} = {column} - %s" for column in columns)
            self.database.query(f"UPDATE {table} SET {changes}", *[span] * len(columns))  # noqa: S608

    # What came of it

    def subjects(self) -> list[str]:
        """Return the subjects that Ana was sent."""
        return [str(message["Subject"]) for to, message in self.mails.mails if to == EMAILS[0]]

    def kinds(self) -> list[str]:
        """Return what the receiver was told."""
        return [str(payload["type"]) for _, payload in self.receiver.calls]


def connection_to(url: str) -> str:
    """Return an Airflow connection to a PostgreSQL database."""
    parts = urlsplit(url)
    return json.dumps({
        "conn_type": "postgres", "host": parts.hostname, "port": parts.port,
        "login": parts.username, "password": parts.password, "schema": parts.path.lstrip("/"),
    })  # fmt: skip


if __name__ == "__main__":
    alerts.send_alerts()
