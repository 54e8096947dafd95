"""What people are told, from a failed task to the mail server and the receiver of webhooks."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from clinic.alerts.model import Severity
from clinic.backups.check import Breach
from clinic.errors import TransientError
from clinic_airflow import alerts, failures
from support.alerting import EMAILS, House
from support.processes import free_port
from support.stack_env import needed

ODOO_DOWN = TransientError(
    "Odoo clinic.document.notify: Connection refused. Trying again may help; is Odoo up?"
)
DAGS = [f"dag_{number:02}" for number in range(40)]


def test_an_outage_of_forty_tasks_is_one_message_on_each_channel(house: House) -> None:
    for dag_id in DAGS:
        house.fail(dag_id, ODOO_DOWN)
    for _ in range(3):
        house.send()
    assert house.subjects() == ["[Clínica] AVISO: Odoo no responde (40 DAG)"]
    assert sorted(to for to, _ in house.mails.mails) == sorted(EMAILS)
    text = house.mails.mails[0][1].get_content()
    assert all(dag_id in text for dag_id in DAGS)
    ((_, payload),) = house.receiver.calls
    assert payload["type"] == "alert.opened"
    assert payload["data"]["dags"] == DAGS
    assert payload["data"]["count"] == 40
    assert not list(failures.folder().iterdir())


def test_what_fails_on_is_counted_and_not_told_again_for_a_day(house: House) -> None:
    for _ in range(3):
        house.fail("sync_inventory", ODOO_DOWN, task_id="mirror")
        house.send()
    assert house.kinds() == ["alert.opened"]
    assert house.database.value("SELECT count FROM alerts") == 3
    house.let_pass(timedelta(hours=25))
    house.send()
    house.send()
    assert house.kinds() == ["alert.opened", "alert.reminder"]
    assert house.receiver.calls[1][1]["data"]["count"] == 3
    assert "sigue así" in house.subjects()[1]


def test_two_systems_are_two_outages(house: House) -> None:
    house.fail("sync_inventory", ODOO_DOWN)
    house.fail("drain_invoices", TransientError("Reading in invoice_queue: is RabbitMQ up?"))
    house.send()
    causes = [payload["data"]["cause"] for _, payload in house.receiver.calls]
    assert sorted(causes) == ["broker", "odoo"]


def test_it_is_told_once_when_all_works_again(house: House) -> None:
    for dag_id in DAGS[:2]:
        house.fail(dag_id, ODOO_DOWN)
    house.send()
    house.task(DAGS[0], "success", ago_s=1)
    house.send()
    house.let_pass(timedelta(hours=1))
    house.send()
    assert house.kinds() == ["alert.opened"]  # the other one has not succeeded yet
    house.task(DAGS[1], "success", ago_s=1)
    house.send()
    assert house.kinds() == ["alert.opened"]  # it may come back within minutes
    house.let_pass(timedelta(hours=1))
    house.send()
    house.send()
    assert house.kinds() == ["alert.opened", "alert.closed"]
    assert "RESUELTO" in house.subjects()[1]
    assert house.database.value("SELECT state FROM outages") == "closed"


def test_what_comes_back_within_minutes_is_the_same_outage(house: House) -> None:
    house.fail("sync_inventory", ODOO_DOWN)
    house.send()
    house.task("sync_inventory", "success", ago_s=30)
    house.send()
    assert house.database.value("SELECT state FROM alerts") == "resolved"
    house.fail("sync_inventory", ODOO_DOWN, ago_s=0)
    house.send()
    house.send()
    assert house.database.value("SELECT state FROM alerts") == "open"
    assert house.kinds() == ["alert.opened"]


def test_a_task_that_could_not_say_so_is_found_by_its_traces(house: House) -> None:
    house.task("sync_inventory", "failed")
    house.task("drain_invoices", "failed", ago_s=5)  # it may still say why
    house.send()
    house.send()
    ((_, payload),) = house.receiver.calls
    assert payload["data"]["cause"] == "killed"
    assert payload["data"]["dags"] == ["sync_inventory"]
    assert payload["data"]["count"] == 1


def test_a_failure_that_says_why_is_counted_once(house: House) -> None:
    house.fail("sync_inventory", ODOO_DOWN, ago_s=5)
    house.send()
    with psycopg.connect(house.airflow_db) as connection:  # a minute later
        connection.execute("UPDATE task_instance SET end_date = end_date - interval '1 minute'")
    house.send()
    assert house.database.query("SELECT key, count FROM alerts") == [
        {"key": "dag/sync_inventory/drain", "count": 1}
    ]


def test_files_that_cannot_be_read_are_one_outage_until_they_can(house: House) -> None:
    broken = "INSERT INTO import_error (timestamp, filename, bundle_name, stacktrace)"
    with psycopg.connect(house.airflow_db, autocommit=True) as connection:
        for name in ("a.py", "b.py"):
            trace = f'Traceback\n  File "/dags/{name}", line 7\nImportError: no x.\nDid you mean y?'
            connection.execute(f"{broken} VALUES (now(), %s, 'dags-folder', %s)", (name, trace))
        house.send()
        house.send()
        connection.execute("DELETE FROM import_error")
    ((_, payload),) = house.receiver.calls
    assert payload["data"]["cause"] == "dag_file"
    assert [alert["key"] for alert in payload["data"]["alerts"]] == [
        "dag_file/a.py", "dag_file/b.py"
    ]  # fmt: skip
    details = [alert["detail"] for alert in payload["data"]["alerts"]]
    assert details == [f"{name}:7: ImportError: no x. Did you mean y?" for name in ("a.py", "b.py")]
    house.send()
    house.let_pass(timedelta(hours=1))
    house.send()
    assert house.kinds() == ["alert.opened", "alert.closed"]


def test_a_dag_that_was_taken_away_is_no_longer_waited_for(house: House) -> None:
    house.fail("sync_inventory", ODOO_DOWN)
    house.send()
    with psycopg.connect(house.airflow_db, autocommit=True) as connection:
        connection.execute("UPDATE dag SET is_stale = true WHERE dag_id = 'sync_inventory'")
    house.send()
    assert house.database.value("SELECT state FROM alerts") == "resolved"


def test_each_breach_is_an_outage_until_its_check_no_longer_finds_it(house: House) -> None:
    def breach(key: str, severity: Severity = Severity.WARNING) -> Breach:
        return Breach(key, severity, f"Título de {key}", f"detalle de {key}", "check_backups.md")

    found = [breach("backups/age", Severity.CRITICAL), breach("backups/drill")]
    for _ in range(2):
        alerts.raise_breaches(found, "check_backups")
        house.send()
    assert sorted(house.subjects()) == [
        "[Clínica] AVISO: Título de backups/drill",
        "[Clínica] CRÍTICO: Título de backups/age",
    ]
    alerts.raise_breaches([], "another check")
    alerts.raise_breaches([breach("backups/drill", Severity.CRITICAL)], "check_backups")
    house.send()
    assert house.subjects()[2:] == ["[Clínica] CRÍTICO: ha empeorado: Título de backups/drill"]
    house.let_pass(timedelta(hours=1))
    house.send()
    assert house.subjects()[3:] == ["[Clínica] RESUELTO: Título de backups/age"]
    states = house.database.query("SELECT key, state FROM alerts ORDER BY key")
    assert [row["state"] for row in states] == ["resolved", "open"]


@pytest.mark.stack
def test_a_broker_that_is_away_is_told_though_no_task_fails_of_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = urlsplit(needed("AMQP_URL"))

    def lies_at(port: int | None) -> None:
        house.set(monkeypatch, "AIRFLOW_CONN_RABBITMQ_DEFAULT", json.dumps({
            "conn_type": "rabbitmq", "host": real.hostname, "port": port, "login": real.username,
            "password": real.password, "schema": unquote(real.path.removeprefix("/")),
        }))  # fmt: skip

    lies_at(real.port)
    house.send()
    lies_at(free_port())
    house.send()  # it may be just restarted
    house.let_pass(timedelta(hours=1))
    house.send()  # everything was off, and the broker starts last
    assert house.subjects() == []
    house.let_pass(timedelta(minutes=4))
    house.send()
    house.let_pass(timedelta(minutes=1))
    house.send()
    assert house.subjects() == ["[Clínica] AVISO: RabbitMQ no responde"]
    data = house.receiver.calls[0][1]["data"]
    assert "Connection refused" in data["alerts"][0]["detail"]
    # It is away since it last answered, not since somebody had enough of waiting.
    assert datetime.now(UTC) - datetime.fromisoformat(data["first_at"]) > timedelta(minutes=4)
    lies_at(real.port)
    house.send()
    house.let_pass(timedelta(hours=1))
    house.send()
    assert house.subjects()[1:] == ["[Clínica] RESUELTO: RabbitMQ no responde"]
