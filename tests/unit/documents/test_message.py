"""What a message may say, and what the schemas and their documents say of it."""

import json
from typing import Any

import pytest
import yaml
from clinic.backups.request import Request
from clinic.documents.message import SCHEMAS, parse, problems_of
from clinic.errors import ParkError
from jsonschema import Draft202012Validator
from support.draining import message, pdf
from support.parcels import notification_body

DOCUMENT_ID = "0b9d1c4e-8a55-4c0f-9b4e-0a6f7c1d2e3f"


def body(**changes: Any) -> bytes:
    return json.dumps(message(pdf("one"), DOCUMENT_ID) | changes).encode()


def test_a_good_message_is_read() -> None:
    read = parse("invoice.created", body())
    assert read.document_id == DOCUMENT_ID
    assert read.metadata.date.isoformat() == "2026-11-24"
    assert str(read) == f"invoice INV/2026/00001 ({DOCUMENT_ID}.1)"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"document_id": DOCUMENT_ID.upper()}, id="upper case"),
        pytest.param({"document_id": None}, id="no id"),
        pytest.param({"patient_id": True}, id="a truth value for a number"),
        pytest.param({"patient_id": 0}, id="zero"),
        pytest.param({"metadata": []}, id="a list"),
        pytest.param({"metadata": {}}, id="nothing known"),
    ],
)
def test_a_message_against_the_schema_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ParkError) as raised:
        parse("invoice.created", body(**changes))
    assert raised.value.reason == "schema"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("file_name", "../x.pdf"),
        ("file_name", ".x.pdf"),
        ("file_name", "x.exe"),
        ("file_name", "a\nb.pdf"),
        ("date", "2026-13-01"),
        ("date", "24/11/2026"),
        ("sha256", "A" * 64),
        ("size_bytes", 0),
        ("size_bytes", 1.5),
        ("revision", 0),
        ("company", "a\0b"),
        ("content_type", "text/html"),
    ],
)
def test_metadata_against_the_schema_is_refused(name: str, value: Any) -> None:
    wrong = message(pdf("one"), DOCUMENT_ID)
    wrong["metadata"][name] = value
    with pytest.raises(ParkError) as raised:
        parse("invoice.created", json.dumps(wrong).encode())
    assert raised.value.reason == "schema"


def test_a_key_more_in_metadata_is_allowed() -> None:
    more = message(pdf("one"), DOCUMENT_ID, ward="3B")
    assert parse("invoice.created", json.dumps(more).encode()).metadata.number


def test_a_notification_is_held_to_its_schema() -> None:
    good = notification_body(DOCUMENT_ID)
    assert problems_of("notification", good) == ""
    assert problems_of("notification", good | {"metadata": good["metadata"] | {"mails": []}}) == ""
    assert "Additional properties" in problems_of("notification", good | {"extra": 1})
    assert "document_type" in problems_of("notification", good | {"document_type": "x"})
    assert problems_of("notification", []) != ""


@pytest.mark.parametrize("name", ["document", "notification"])
def test_a_schema_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))


def test_asyncapi_names_what_the_broker_has() -> None:
    api = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text())
    broker = json.loads((SCHEMAS.parents[2] / "rabbitmq/definitions.json").read_text())
    bound = {
        (binding["routing_key"], binding["destination"])
        for binding in broker["bindings"]
        if binding["source"] in {"documents_exchange", "backups_exchange"}
    }
    channels = api["channels"].values()
    assert {(each["address"], each["bindings"]["amqp"]["queue"]["name"]) for each in channels} == {
        (key, queue) for key, queue in bound
    }


def test_asyncapi_examples_are_messages() -> None:
    api = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text())
    messages = api["components"]["messages"]
    request = messages.pop("backupRequest")
    for example in request["examples"]:
        Draft202012Validator(request["payload"]).validate(example["payload"])
        assert Request.model_validate(example["payload"]).request_id is not None
    assert messages.keys() == {"document", "notification"}
    for name, described in messages.items():
        schema = described["payload"]["schema"]["$ref"]
        assert schema == f"./{name}.schema.json"
        assert (SCHEMAS / schema).exists()
        assert described["examples"]
        for example in described["examples"]:
            assert problems_of(name, example["payload"]) == ""


def test_what_is_wrong_with_a_message_names_no_value_of_it() -> None:
    body = message(b"x", number="Ana Núñez 1979") | {"patient_id": "Ana Núñez"}
    body["metadata"]["size_bytes"] = {"name": "Ana Núñez"}
    said = problems_of("document", body)
    assert "patient_id: does not fit" in said
    assert "metadata.size_bytes: does not fit" in said
    assert "Ana" not in said
