"""clinic_backups with a real Odoo, its scheduler, and the running RabbitMQ."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from clinic.backups.model import BackupKind
from clinic.backups.request import read_messages
from support.odoo import ADMIN, OdooCluster, OdooServer
from support.odoo_suite import run_addon_suite
from support.processes import free_port, run, wait_until
from support.stack_env import needed
from support.vhost import VirtualHost, virtual_host
from support.way_to_broker import way_to_broker

pytestmark = pytest.mark.stack

ADDONS = ("clinic_backups", "clinic_change_feed", "medical_documents_integration")
QUEUE = "backup_requests_queue"
LEAST = 25


class Odoo(OdooServer):
    """An Odoo with a scheduler, which knows a broker."""

    broker_url = ""
    broker_port = 0

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"CLINIC_AMQP_URL": self.broker_url}

    def command(self, *words: str) -> list[str]:
        return [*super().command(*words), *([] if words else ["--max-cron-threads=1"])]

    def ask(self, note: str) -> int:
        """Press the button; return the id of the row that it shows."""
        (request,) = self.call(
            "clinic.backup.request", "create", ADMIN, vals_list=[{"kind": "database", "note": note}]
        )
        action = self.call("clinic.backup.request", "action_ask", ADMIN, ids=[request])
        return int(action["res_id"])

    def state(self, row: int) -> str:
        return str(self.sql("SELECT state FROM clinic_backup WHERE id = %s", row)[0][0])


@pytest.fixture
def broker() -> Iterator[VirtualHost]:
    with virtual_host() as host:
        yield host


@pytest.fixture
def odoo(odoo_cluster: OdooCluster, broker: VirtualHost, tmp_path: Path) -> Iterator[Odoo]:
    database = odoo_cluster.new_database()
    server = Odoo(odoo_cluster, database, tmp_path / database)
    addons = ",".join(ADDONS)
    run(
        *server.command(), "--init", addons, "--update", addons, "--stop-after-init",
        env=server.environment,
    )  # fmt: skip
    server.broker_port = free_port()
    login = urlsplit(needed("AMQP_ODOO_URL")).netloc.rpartition("@")[0]
    path = quote(broker.name, safe="")
    server.broker_url = f"amqp://{login}@127.0.0.1:{server.broker_port}/{path}"
    yield server
    server.kill()
    server.http.close()
    odoo_cluster.drop_database(database)


def test_odoo_runs_the_tests_of_clinic_backups(odoo_cluster: OdooCluster) -> None:
    run_addon_suite(odoo_cluster, "clinic_backups", LEAST)


def test_the_button_s_request_waits_for_the_broker_and_is_what_airflow_reads(
    odoo: Odoo, broker: VirtualHost
) -> None:
    odoo.start()
    row = odoo.ask("antes de la actualización")
    wait_until(
        lambda: odoo.sql("SELECT attempts > 0 FROM clinic_backup WHERE id = %s", row) == [(True,)],
        "the dead broker is noticed",
        60,
    )
    assert odoo.state(row) == "requested"
    with way_to_broker(odoo.broker_port):
        odoo.wait_for_minutes(lambda: odoo.state(row) == "published", "the request is sent", 120)
    connection = broker.connect()
    method, _, body = connection.channel().basic_get(QUEUE, auto_ack=True)
    connection.close()
    assert method is not None
    request = read_messages([{"body": body.decode()}])
    assert (request.kind, request.note) == (BackupKind.DATABASE, "antes de la actualización")
    assert request.requested_by == "admin"
    assert broker.depth(QUEUE) == 0


def test_odoo_s_own_neutralising_leaves_nothing_that_could_act_for_the_original(odoo: Odoo) -> None:
    keys = """
        SELECT count(*) FROM res_users_apikeys AS keys JOIN res_users AS users
        ON keys.user_id = users.id WHERE users.login ~ '^clinic_'
    """
    make = """
for login in ("clinic_feed", "clinic_documents", "clinic_backups"):
    user = env["res.users"].search([("login", "=", login)])
    env["res.users.apikeys"].with_user(user).sudo()._generate("rpc", "test", None)
env["clinic.backup"]._ask("full", "of this test")
env.cr.commit()
"""
    subprocess.run(
        [*odoo.command("shell"), "--no-http", "--workers=0"],
        input=make, env=odoo.environment, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert odoo.sql(keys)[0][0] >= 3
    run(*odoo.command("neutralize"), env=odoo.environment)
    assert odoo.sql(keys) == [(0,)]
    assert odoo.sql("SELECT state FROM clinic_backup WHERE note = 'of this test'") == [("failed",)]
    odoo.start()
    refused = odoo.post("clinic.backup", "search_read", ADMIN, domain=[])
    assert refused.status_code == 200  # the administrator still comes in, to look at the copy
    (request,) = odoo.call("clinic.backup.request", "create", ADMIN, vals_list=[{}])
    answer = odoo.post("clinic.backup.request", "action_ask", ADMIN, ids=[request])
    assert answer.status_code == 422
