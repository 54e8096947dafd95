"""What other systems get from the API: lists, movements asked for, conflicts, reports, events."""

import asyncio
import base64
import csv
import hashlib
import hmac
import io
import json
import uuid
import zipfile

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from integration.api.conftest import CONFLICT, program_token
from support.stack_env import needed

pytestmark = pytest.mark.stack


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def movement(**changes):
    return {"kind": "out", "medication_id": 1, "location_id": 9, "quantity": "2"} | changes


def test_lists_are_by_name_without_accents_and_read_on(api):
    with api.client() as client:
        assert ids(client.get("/api/medications")) == [3, 1, 6, 2, 4]  # =1+1, ácido, amox, …
        seen, after = [], None
        while True:
            query = {"limit": 2} | ({"after": after} if after else {})
            page = client.get("/api/medications", params=query).json()
            seen += [item["id"] for item in page["items"]]
            after = page["next"]
            if after is None:
                break
        assert seen == [3, 1, 6, 2, 4]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "acido FOLICO"}, [1]),
        ({"q": "folic"}, [1]),
        ({"q": "100%"}, [4]),
        ({"q": "%"}, [4]),
        ({"q": "' OR 1=1 --"}, []),
        ({"category": "Analgésicos"}, [2]),
        ({"lot": "l-11"}, [1]),
        ({"location_id": 9}, [1, 2]),
        ({"location_id": 8}, [1, 6, 2, 4]),
        ({"expires_within_days": 30}, [1]),
        ({"state": "low"}, [1]),
        ({"state": "expired"}, [2]),
        ({"state": "out"}, [3]),
        ({"state": "negative"}, [4]),
        ({"state": "expiring"}, [1]),
        ({"state": "ok"}, [6]),
    ],
    ids=str,
)
def test_filters(api, query, found):
    with api.client() as client:
        assert ids(client.get("/api/medications", params=query)) == found


def test_each_tile_is_as_long_as_its_list(api):
    with api.client() as client:
        tiles = client.get("/api/summary").json()
        for tile, query in {
            "out_of_stock": {"state": "out"},
            "below_minimum": {"state": "low"},
            "expiring_30": {"expires_within_days": 30},
            "expiring_90": {"expires_within_days": 90},
            "expired": {"state": "expired"},
            "negative": {"state": "negative"},
        }.items():
            assert tiles[tile] == len(ids(client.get("/api/medications", params=query))) == 1, tile
        assert tiles["medications"] == 5


def test_a_medication_tells_its_stock_and_its_outlook(api):
    with api.client() as client:
        found = client.get("/api/medications/1").json()
        assert found["states"] == ["low", "expiring"]
        assert found["stock_quantity"] == "40"
        assert [level["lot"] for level in found["levels"]] == ["L-11"]
        assert found["rules"][0]["min_quantity"] == "50"
        use = found["consumption"]
        assert (use["consumed"], use["window_days"], use["suggested_order"]) == ("70", 39, "60")
        assert use["stock_out_on"] is not None
        days = client.get("/api/medications/1/history", params={"days": 60}).json()["items"]
        assert (days[-1]["quantity"], days[0]["quantity"]) == ("40", "100")
        assert client.get("/api/medications/999").status_code == 404


def test_a_read_that_did_not_change_is_not_sent_again(api):
    with api.client() as client:
        first = client.get("/api/stock-alerts")
        tag = {"If-None-Match": first.headers["etag"]}
        api.database.query("UPDATE sync_cursors SET fresh_at = now()")
        again = client.get("/api/stock-alerts", headers=tag)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["data-as-of"] > first.headers["data-as-of"]
        other = client.get("/api/stock-alerts", headers={"If-None-Match": 'W/"x"'})
        assert other.status_code == 200


def test_a_thousand_times_the_same_key_is_one_movement(api):
    key = str(uuid.uuid4())
    headers = {"Authorization": f"Bearer {api.token()}", "Idempotency-Key": key}

    async def ask_all():
        async with httpx.AsyncClient(
            base_url=api.url, headers=headers, timeout=120, trust_env=False
        ) as client:

            async def ask():
                while True:  # as a program does: a busy API says when to come back
                    answer = await client.post("/api/stock-movements", json=movement())
                    if answer.status_code != 503:
                        return answer
                    await asyncio.sleep(float(answer.headers["retry-after"]))

            async def ask_in_turn():
                return [await ask() for _ in range(20)]

            answers = await asyncio.gather(*(ask_in_turn() for _ in range(50)))
        return [answer for some in answers for answer in some]

    answers = asyncio.run(ask_all())
    assert len(answers) == 1000
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len({answer.headers["location"] for answer in answers}) == 1
    rows = "SELECT count(*) FROM movement_requests WHERE idempotency_key = %s"
    assert api.database.value(rows, key) == 1
    with api.client() as client:
        other = client.post(
            "/api/stock-movements",
            json=movement(quantity="3"),
            headers={"Idempotency-Key": key},
        )
        assert other.status_code == 422
        assert "another movement" in other.json()["detail"]
        found = client.get(answers[0].headers["location"]).json()
        assert (found["state"], found["quantity"], found["source"]) == ("pending", "2", "api")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (json.dumps(movement(quantity=2)).encode(), 422),
        (json.dumps(movement(quantity="0")).encode(), 422),
        (json.dumps(movement(quantity="NaN")).encode(), 422),
        (json.dumps(movement(reason="a\0b")).encode(), 422),
        (json.dumps(movement(kind="adjustment", quantity="0")).encode(), 422),
        (json.dumps(movement(surprise=1)).encode(), 422),
        (b" " * 10_000_000, 413),
    ],
)
def test_what_cannot_be_booked_is_refused_at_once(api, body, status):
    headers = {"Idempotency-Key": "bad", "Content-Type": "application/json"}
    with api.client() as client:
        answer = client.post("/api/stock-movements", content=body, headers=headers)
        chunked = client.post("/api/stock-movements", content=iter([body]), headers=headers)
    assert (answer.status_code, chunked.status_code) == (status, status)
    assert answer.json()["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_conflict_is_resolved_once(api):
    conflict = api.database.value(CONFLICT)
    with api.client() as client:
        found = client.get("/api/conflicts").json()["items"]
        assert found[0]["id"] == conflict
        assert found[0]["ours"]["detail"] == "Hay 40."
        url = f"/api/conflicts/{conflict}/resolution"
        again = {"resolution": "recount", "counted": "38", "note": "contado"}
        first, second = client.post(url, json=again), client.post(url, json=again)
        assert first.status_code == second.status_code == 200, first.text
        assert first.json()["id"] == second.json()["id"]
        assert (first.json()["kind"], first.json()["quantity"]) == ("count", "38")
        assert client.post(url, json={"resolution": "discard"}).status_code == 409
        assert client.post(url, json={"resolution": "recount"}).status_code == 422
        nobody = client.post("/api/conflicts/99999/resolution", json={"resolution": "discard"})
        assert nobody.status_code == 404


def test_reports_are_a_list_a_csv_and_a_sheet(api):
    query = {"since": "2020-01-01T00:00:00Z", "group_by": "location"}
    with api.client() as client:
        rows = client.get("/api/reports/movements", params=query).json()["items"]
        assert {(row["medication_id"], row["entered"], row["left_stock"]) for row in rows} == {
            (1, "10", "70"),
            (3, "0", "20"),
        }
        text = client.get("/api/reports/movements", params=query | {"format": "csv"})
        lines = list(csv.DictReader(io.StringIO(text.content.decode("utf-8-sig"))))
        assert {line["name_es"] for line in lines} == {"Ácido fólico 5 mg", "'=1+1 Insulina"}
        sheet = client.get("/api/reports/movements", params=query | {"format": "xlsx"})
        with zipfile.ZipFile(io.BytesIO(sheet.content)) as book:
            page = book.read("xl/worksheets/sheet1.xml").decode()
        assert "=1+1 Insulina" in page
        assert "<f>" not in page


def test_a_listener_that_was_away_misses_nothing(api):
    add = (
        "INSERT INTO change_events (kind, payload) VALUES ('inventory.changed', %s) "
        "RETURNING number, pg_notify('clinica_events', number::text)"
    )

    def change(number):
        return api.database.query(add, json.dumps({"medication_ids": [number]}))[0]["number"]

    def read(lines, count):
        events, kind = [], ""
        for line in lines:
            kind = line[7:] if line.startswith("event: ") else kind
            if line.startswith("id: "):
                number = int(line[4:])
            if line.startswith("data: "):
                events.append((number, kind, json.loads(line[6:])))
                if len(events) == count:
                    return events
        raise AssertionError(f"the stream ended after {events}")

    first = change(1)
    with api.client() as client:
        with client.stream("GET", "/api/events") as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("retry: ")
            second = change(2)
            told = read(lines, 1)
            while told[0][0] < second:  # one from before, that was on its way
                told = read(lines, 1)
            assert told[0][2]["medication_ids"] == [2]
        missed = [second, *(change(n) for n in range(3, 6))][1:]
        with client.stream("GET", "/api/events", headers={"Last-Event-ID": str(second)}) as stream:
            lines = stream.iter_lines()
            assert [number for number, _, _ in read(lines, 3)] == missed
            last = change(6)
            assert read(lines, 1)[0][0] == last
        api.database.query("DELETE FROM change_events WHERE number < %s", last)
        with client.stream("GET", "/api/events", headers={"Last-Event-ID": str(first)}) as stream:
            assert read(stream.iter_lines(), 1)[0][:2] == (last, "reset")


def test_real_tokens_that_were_tampered_with_do_not_count(api):
    whole = api.token()
    header, payload, signature = whole.split(".")
    realm = f"{needed('KEYCLOAK_URL')}/realms/{needed('KEYCLOAK_REALM')}"
    certs = httpx.get(f"{realm}/protocol/openid-connect/certs", trust_env=False).json()["keys"]
    kid = jwt.get_unverified_header(whole)["kid"]
    public = next(jwt.PyJWK(key).key for key in certs if key["kid"] == kid)
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def part(value):
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    symmetric = f"{part(json.dumps({'alg': 'HS256', 'kid': kid}).encode())}.{payload}"
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims = jwt.decode(whole, options={"verify_signature": False})
    bad = {
        "another's signature": jwt.encode(claims, own, "RS256", {"kid": kid}),
        "signature cut": f"{header}.{payload}.{signature[:-8]}",
        "none": f"{part(json.dumps({'alg': 'none', 'kid': kid}).encode())}.{payload}.",
        "HS256": f"{symmetric}.{part(hmac.digest(pem, symmetric.encode(), hashlib.sha256))}",
        "foreign": program_token("airflow-ci", needed("AIRFLOW_CI_CLIENT_SECRET")),
    }
    for name, token in {**bad, "whole": whole}.items():
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{api.url}/api/summary", headers=headers, trust_env=False)
        assert answer.status_code == (200 if name == "whole" else 401), name
    # This program may not see documents.
    with api.client() as client:
        assert client.get(f"/api/documents/{uuid.uuid4()}/timeline").status_code == 403
        assert "inventory_api_requests_total" in client.get("/metrics").text
    assert signature not in api.log.read_text()
