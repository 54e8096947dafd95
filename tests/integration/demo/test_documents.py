"""The documents' act, on the running stack, by its own command; then what it left is looked at."""

from __future__ import annotations

import email
import email.policy
import re
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from clinic.clients.odoo_rpc import OdooRpc
from support.stack_env import needed, stack_env

pytestmark = pytest.mark.stack

SHOW_S = 700  # longer than all that the command itself waits for


@pytest.fixture(scope="module")
def odoo() -> OdooRpc:
    return OdooRpc.from_environment(stack_env())


def mails() -> dict[str, str]:
    """Name of each file of the mail server -> the subject."""
    return {
        file.name: email.message_from_bytes(file.read_bytes(), policy=email.policy.default)[
            "subject"
        ]
        for file in (Path(needed("MAIL_DIRECTORY")) / "new").iterdir()
    }


def newest(odoo: OdooRpc) -> int:
    found = odoo.call("clinic.document", "search", [], order="id desc", limit=1)
    return int(found[0]) if found else 0


@pytest.fixture(scope="module")
def shown(odoo: OdooRpc) -> tuple[str, list[dict[str, Any]], set[str]]:
    """Run the command; return what it printed, the documents it made, and the mails since."""
    last, mailed = newest(odoo), mails()
    done = subprocess.run(
        ["clinic", "demo", "documents"],
        capture_output=True, text=True, check=False, timeout=SHOW_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    documents = odoo.call(
        "clinic.document",
        "search_read",
        [["id", ">", last]],
        ["number", "document_type", "state", "url", "store", "res_model", "res_id",
         "notification_ids", "title"],
        order="id",
    )  # fmt: skip
    return done.stdout, documents, {s for name, s in mails().items() if name not in mailed}


def events(odoo: OdooRpc, document: dict[str, Any]) -> list[str]:
    told = odoo.call(
        "clinic.document.notification", "read", document["notification_ids"], ["event", "number"]
    )
    by_number = sorted(told, key=lambda row: row["number"])
    return [row["event"] for row in by_number if row["number"]]  # what Odoo did itself has none


def said(odoo: OdooRpc, document: dict[str, Any]) -> list[str]:
    """Return what the source's discussion says of the document, oldest first."""
    messages = odoo.call(
        "mail.message",
        "search_read",
        [["model", "=", document["res_model"]], ["res_id", "=", document["res_id"]],
         ["body", "ilike", "El documento"]],
        ["body"],
        order="id",
    )  # fmt: skip
    return [message["body"] for message in messages]


def test_every_document_is_stored_where_its_type_goes(odoo: OdooRpc, shown: Any) -> None:
    _, documents, _ = shown
    assert [d["document_type"] for d in documents].count("invoice") == 11
    assert [d["document_type"] for d in documents].count("medical_record") == 2
    for document in documents:
        assert document["state"] == "stored", document
        wanted = "drive" if document["document_type"] == "invoice" else "webdav"
        assert document["store"] == wanted
    assert len({document["url"] for document in documents}) == 13
    # Its page is there, for whom may see it; nobody else is told that there is none.
    trust = ssl.create_default_context(cafile=needed("CA_FILE"))
    with httpx.Client(verify=trust, timeout=30) as http:
        statuses = {http.get(d["url"], follow_redirects=False).status_code for d in documents}
    assert 404 not in statuses


def test_a_full_store_is_tried_again_and_said_once(odoo: OdooRpc, shown: Any) -> None:
    _, documents, _ = shown
    retried = [d for d in documents if "retrying" in events(odoo, d)]
    assert retried
    for document in documents:
        bodies = said(odoo, document)
        occasions = list(dict.fromkeys(events(odoo, document)))  # each once, however often
        assert len(bodies) == len(occasions), (document, bodies)
        assert "está archivado" in bodies[-1]
    assert "todavía no está archivado" in said(odoo, retried[0])[0]


def test_garbage_is_parked_and_a_refused_document_replayed_and_mailed(
    odoo: OdooRpc, shown: Any
) -> None:
    printed, documents, subjects = shown
    assert "invoice_queue: not_json." in printed
    refused = documents[-1]
    assert events(odoo, refused) == ["parked", "stored"]
    assert re.search(rf"{re.escape(refused['number'])}: 1 message replayed", printed)
    assert f"El documento {refused['number']} no se pudo archivar." in subjects
    assert {d["title"].split()[0] for d in documents} <= {"Factura", "Consulta", "Informe"}
