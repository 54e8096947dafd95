"""Documents on the running stack, as `make demo` shows them: Airflow's drains and both stores."""

import json
import re
import ssl
import subprocess
import time
from collections import Counter

import httpx
import psycopg
import pytest
from clinic.clients.odoo_rpc import OdooRpc
from support.stack_env import needed, stack_env

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def printed() -> str:
    """What `clinic demo documents` printed: thirteen documents, a full drive, garbage, a replay."""
    done = subprocess.run(
        ["clinic", "demo", "documents"], capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def documents(printed: str) -> list[dict[str, object]]:
    """The documents of the printed numbers, as Odoo knows them now."""
    numbers = re.findall(r"(INV/\d{4}/\d+|HC/\d{4}/\d+)", printed)
    odoo = OdooRpc.from_environment(stack_env())
    return odoo.call(
        "clinic.document",
        "search_read",
        [["number", "in", numbers]],
        ["document_id", "number", "document_type", "state", "url", "store", "sha256", "res_id"],
    )


def test_every_document_is_stored_where_its_type_goes(documents: list[dict[str, object]]) -> None:
    assert Counter((each["document_type"], each["store"]) for each in documents) == {
        ("invoice", "drive"): 11,
        ("medical_record", "webdav"): 2,
    }
    assert {each["state"] for each in documents} == {"stored"}


def test_what_odoo_names_is_the_file(documents: list[dict[str, object]]) -> None:
    trust = ssl.create_default_context(cafile=needed("CA_FILE"))
    auth = needed("WEBDAV_LOGIN"), needed("WEBDAV_PASSWORD")
    with httpx.Client(verify=trust, auth=auth, trust_env=False) as http:
        for each in documents:
            if each["store"] == "webdav":
                answer = http.get(str(each["url"]))
                assert answer.status_code == 200
                assert answer.content.startswith(b"%PDF-")


def test_one_found_the_drive_full_and_one_was_sent_on(printed: str) -> None:
    assert "not_json" in printed
    assert "store_refused" in printed
    assert "1 message replayed." in printed
    with psycopg.connect(needed("SHARED_DB_SYNC_URL")) as database:
        events = Counter(
            state for (state,) in database.execute("SELECT state FROM document_events")
        )
    assert events["retrying"] >= 1
    assert events["parked"] >= 1


def test_each_is_told_once_on_its_invoice(documents: list[dict[str, object]]) -> None:
    odoo = OdooRpc.from_environment(stack_env())
    moves = [each["res_id"] for each in documents if each["document_type"] == "invoice"]
    notes = odoo.call(
        "mail.message",
        "search_read",
        [["model", "=", "account.move"], ["res_id", "in", moves]],
        ["res_id", "body"],
    )
    stored = Counter(note["res_id"] for note in notes if "está archivado" in note["body"])
    assert stored == dict.fromkeys(moves, 1)


def test_a_mail_tells_who_looks_after_documents_of_the_parked_one(printed: str) -> None:
    deadline = time.monotonic() + 60
    with psycopg.connect(needed("SHARED_DB_SYNC_URL"), autocommit=True) as database:
        while True:
            states = Counter(
                state for (state,) in database.execute("SELECT state FROM document_mails")
            )
            if states.get("sent") or time.monotonic() > deadline:
                break
            time.sleep(0.5)
    assert json.dumps(states) == json.dumps({"sent": states["sent"]})
    assert states["sent"] >= 1
