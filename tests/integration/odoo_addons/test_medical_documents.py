"""medical_documents_integration with a real Odoo, its scheduler, and the running RabbitMQ."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import jsonschema
import pika
import pytest
from pypdf import PdfReader
from support.odoo import ADMIN, OdooCluster, OdooServer
from support.odoo import odoo_cluster as odoo_cluster
from support.odoo_suite import run_addon_suite
from support.processes import free_port, run, wait_until
from support.stack_env import ROOT, needed
from support.vhost import VirtualHost, virtual_host
from support.way_to_broker import way_to_broker

pytestmark = pytest.mark.stack

ADDON = "medical_documents_integration"
SCHEMA = json.loads((ROOT / "docs/reference/messages/document.schema.json").read_text())
QUEUE = "invoice_queue"
MEDICAL_QUEUE = "medical_records_queue"
LEAST = 44
_KEY = """
user = env.ref("medical_documents_integration.user_documents")
print("key:" + env["res.users.apikeys"].with_user(user).sudo()._generate("rpc", "test", None))
doctor = env["res.users"].create({{"name": "Dr. Vega", "login": "doctor", "group_ids": [
    (4, env.ref("base.group_user").id), (4, env.ref("clinic_records.group_doctor").id)]}})
print("doctor:" + env["res.users.apikeys"].with_user(doctor).sudo()._generate("rpc", "test", None))
env.company.partner_id.tz = "Asia/Tokyo"
env["ir.config_parameter"].set_param("report.url", "{url}")
env.cr.commit()
"""


class Odoo(OdooServer):
    """An Odoo with a scheduler, which knows a broker."""

    broker_url = ""
    broker_port = 0

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"CLINIC_AMQP_URL": self.broker_url}

    def command(self, *words: str) -> list[str]:
        return [*super().command(*words), *([] if words else ["--max-cron-threads=1"])]

    def post_invoices(self, count: int) -> list[int]:
        """Make and post invoices in one request each, as a clerk's list view does."""
        partner = self.call("res.partner", "create", ADMIN, vals_list=[{"name": "Somebody"}])[0]
        line = {"name": "Visit", "quantity": 1, "price_unit": 50}
        invoice = {"move_type": "out_invoice", "partner_id": partner, "invoice_date": "2026-03-01",
                   "invoice_line_ids": [[0, 0, line]]}  # fmt: skip
        ids: list[int] = self.call("account.move", "create", ADMIN, vals_list=[invoice] * count)
        self.call("account.move", "action_post", ADMIN, ids=ids)
        return ids

    def documents(self, moves: list[int], columns: str) -> list[tuple[Any, ...]]:
        return self.sql(
            f"SELECT {columns} FROM clinic_document"  # noqa: S608 - names of columns
            " WHERE res_model = 'account.move' AND res_id = ANY(%s) ORDER BY id",
            moves,
        )


@pytest.fixture
def broker() -> Iterator[VirtualHost]:
    with virtual_host() as host:
        yield host


@pytest.fixture
def odoo(odoo_cluster: OdooCluster, broker: VirtualHost, tmp_path: Path) -> Iterator[Odoo]:
    database = odoo_cluster.new_database()
    server = Odoo(odoo_cluster, database, tmp_path / database)
    # The pristine database may be of an older clinic_records.
    addons = f"clinic_records,{ADDON}"
    run(
        *server.command(), "--init", addons, "--update", addons, "--stop-after-init",
        env=server.environment,
    )  # fmt: skip
    shell = subprocess.run(
        [*server.command("shell"), "--no-http", "--workers=0"],
        input=_KEY.format(url=server.url), env=server.environment,
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    odoo_cluster.keys["clinic_documents"] = shell.stdout.split("key:")[1].split()[0]
    odoo_cluster.keys["doctor"] = shell.stdout.split("doctor:")[1].split()[0]
    server.broker_port = free_port()
    address = urlsplit(needed("AMQP_ODOO_URL"))
    login = address.netloc.rpartition("@")[0]
    path = quote(broker.name, safe="")
    server.broker_url = f"amqp://{login}@127.0.0.1:{server.broker_port}/{path}"
    server.start()
    yield server
    server.kill()
    server.http.close()
    odoo_cluster.drop_database(database)


def taken(
    broker: VirtualHost, queue: str = QUEUE
) -> list[tuple[pika.BasicProperties, dict[str, Any]]]:
    """Take everything out of a queue."""
    connection = broker.connect()
    channel = connection.channel()
    found = []
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            connection.close()
            return found
        found.append((properties, json.loads(body)))


def test_odoo_runs_the_addon_s_tests(odoo_cluster: OdooCluster) -> None:
    run_addon_suite(odoo_cluster, ADDON, LEAST)


def test_posted_invoices_become_valid_messages_whose_bytes_odoo_serves(
    odoo: Odoo, broker: VirtualHost
) -> None:
    with way_to_broker(odoo.broker_port):
        moves = odoo.post_invoices(2)
        wait_until(lambda: broker.depth(QUEUE) == 2, "two messages", 120)
    messages = taken(broker)
    for properties, body in messages:
        jsonschema.validate(body, SCHEMA, jsonschema.Draft202012Validator)
        facts = body["metadata"]
        assert properties.message_id == f"{body['document_id']}.{facts['revision']}"
        assert properties.delivery_mode == 2
        assert properties.headers["x-attempt"] == 1
        answer = odoo.http.get(
            odoo.url + body["file_path"], headers=odoo.headers("clinic_documents")
        )
        assert answer.status_code == 200
        assert answer.content.startswith(b"%PDF-")
        assert len(answer.content) == facts["size_bytes"]
        assert hashlib.sha256(answer.content).hexdigest() == facts["sha256"]
    wait_until(
        lambda: odoo.documents(moves, "state") == [("published",)] * 2, "the states are written", 30
    )


def test_a_signed_record_becomes_a_message_and_a_pdf_that_tells_the_clinic_s_time(
    odoo: Odoo, broker: VirtualHost
) -> None:
    (patient,) = odoo.call(
        "res.partner", "create", ADMIN, vals_list=[{"name": "Ana", "is_patient": True}]
    )
    record = {"patient_id": patient, "note": "<p>Healthy</p>"}
    ids = odoo.call("clinic.medical.record", "create", "doctor", vals_list=[record])
    with way_to_broker(odoo.broker_port):
        odoo.call("clinic.medical.record", "action_sign", "doctor", ids=ids)
        wait_until(lambda: broker.depth(MEDICAL_QUEUE) == 1, "one message", 120)
    ((properties, body),) = taken(broker, MEDICAL_QUEUE)
    jsonschema.validate(body, SCHEMA, jsonschema.Draft202012Validator)
    assert (properties.type, body["patient_id"]) == ("medical.created", patient)
    answer = odoo.http.get(odoo.url + body["file_path"], headers=odoo.headers("clinic_documents"))
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).hexdigest() == body["metadata"]["sha256"]
    text = " ".join(
        " ".join(page.extract_text().split()) for page in PdfReader(BytesIO(answer.content)).pages
    )
    assert "Healthy" in text
    ((signed_at,),) = odoo.sql(
        "SELECT to_char(signed_at + interval '9 hours', 'HH24:MI:SS')"
        " FROM clinic_medical_record WHERE id = ANY(%s)", ids
    )  # fmt: skip
    assert signed_at in text


def test_with_the_broker_down_posting_goes_on_and_all_arrives_later(
    odoo: Odoo, broker: VirtualHost
) -> None:
    moves = odoo.post_invoices(3)
    wait_until(
        lambda: all(reason for (reason,) in odoo.documents(moves, "reason")), "all say why", 120
    )
    assert odoo.documents(moves, "state") == [("pending",)] * 3
    with way_to_broker(odoo.broker_port):
        moves += odoo.post_invoices(1)
        odoo.wait_for_minutes(lambda: broker.depth(QUEUE) == 4, "all four arrive", 150)
    assert len({body["document_id"] for _properties, body in taken(broker)}) == 4


def test_kill_9_in_the_middle_loses_nothing(odoo: Odoo, broker: VirtualHost) -> None:
    kills, count = 2, 6
    with way_to_broker(odoo.broker_port):
        moves = odoo.post_invoices(count)
        for number in range(1, kills + 1):
            odoo.wait_for_minutes(
                lambda n=number: broker.depth(QUEUE) >= n, "some are published", 120
            )
            odoo.kill()
            odoo.start()
        odoo.wait_for_minutes(
            lambda: odoo.documents(moves, "state") == [("published",)] * count, "all are sent", 240
        )
    messages = [properties.message_id for properties, _body in taken(broker)]
    wanted = odoo.documents(moves, "document_id || '.' || revision")
    assert sorted(set(messages)) == sorted(message_id for (message_id,) in wanted)
    assert len(messages) <= count + kills
