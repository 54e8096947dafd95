"""Activities in a real Odoo: made once for an outage, and done by themselves when it is over."""

import json
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from clinic.errors import TransientError
from support.alerting import House
from support.odoo import OdooCluster, OdooServer, odoo_cluster  # noqa: F401

pytestmark = pytest.mark.stack

MAKE_KEY = """
import os
user = env["res.users"].search([("login", "=", "clinic_alerts")])
key = env["res.users.apikeys"].with_user(user).sudo()._generate("rpc", "test", None)
env.cr.commit()
with open(os.environ["CLINIC_KEY"], "w") as stream:
    stream.write(key)
"""
BROKER_DOWN = TransientError(
    "Reading in invoice_queue: gone. Trying again may help; is RabbitMQ up?"
)


@pytest.fixture
def odoo(
    house: House,
    odoo_cluster: OdooCluster,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[OdooServer]:
    """A real Odoo, which the house is connected to as the alerts' service account."""
    database = odoo_cluster.new_database()
    server = OdooServer(odoo_cluster, database, tmp_path / database)
    # A copy of the running stack's Odoo, whose own outages are of no concern here.
    server.sql("DELETE FROM mail_activity WHERE clinic_outage IS NOT NULL")
    key = tmp_path / "key"
    subprocess.run(
        [*server.command("shell"), "--no-http", "--workers=0"],
        input=MAKE_KEY, env=server.environment | {"CLINIC_KEY": str(key)},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    server.start()
    address = urlsplit(server.url)
    house.set(monkeypatch, "AIRFLOW_CONN_ODOO_ALERTS", json.dumps({
        "conn_type": "odoo", "host": f"http://{address.hostname}", "port": address.port,
        "login": "clinic_alerts", "password": key.read_text(), "schema": database,
    }))  # fmt: skip
    yield server
    server.kill()
    server.http.close()
    odoo_cluster.drop_database(database)


def activities(odoo: OdooServer) -> list[tuple[str, bool]]:
    return [
        (str(summary), bool(active))
        for summary, active in odoo.sql(
            "SELECT a.summary, a.active FROM mail_activity AS a JOIN res_users AS u"
            " ON u.id = a.user_id WHERE a.clinic_outage IS NOT NULL AND u.login = 'admin'"
        )
    ]


def test_an_outage_is_one_activity_until_it_is_over(house: House, odoo: OdooServer) -> None:
    for number in range(40):
        house.fail(f"dag_{number:02}", BROKER_DOWN)
    for _ in range(3):
        house.send()
    told = "[Clínica] AVISO: RabbitMQ no responde (40 DAG)"
    assert activities(odoo) == [(told, True)]
    for number in range(40):
        house.task(f"dag_{number:02}", "success", ago_s=1)
    house.send()
    house.let_pass(timedelta(hours=1))
    house.send()
    ((summary, is_open),) = activities(odoo)
    assert not is_open
    assert summary == "[Clínica] RESUELTO: RabbitMQ no responde"


def test_an_odoo_that_is_away_stops_nobody_and_is_told_when_it_is_back(
    house: House, odoo: OdooServer
) -> None:
    odoo.kill()
    house.fail("drain_invoices", BROKER_DOWN)
    house.send()
    assert len(house.subjects()) == 1
    assert house.kinds() == ["alert.opened"]
    assert activities(odoo) == []
    odoo.start()
    house.let_pass(timedelta(minutes=5))
    house.send()
    assert activities(odoo) == [("[Clínica] AVISO: RabbitMQ no responde", True)]
    assert len(house.subjects()) == 1
