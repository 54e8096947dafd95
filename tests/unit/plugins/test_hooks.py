"""The hooks: from an Airflow connection to a client, and what the Connections page shows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import airflow
import jsonschema
import psycopg
import pytest
from clinic.clients.odoo import OdooClient
from clinic.clients.odoo_feed import OdooFeed, Page
from clinic.clients.shared_db import SharedDb
from clinic.errors import PermanentError, TransientError
from clinic_airflow.hooks.odoo import OdooHook
from clinic_airflow.hooks.odoo_database import OdooDatabaseHook
from clinic_airflow.hooks.shared_db import SharedDbHook
from clinic_airflow.provider import get_provider_info

Define = Callable[..., str]
ODOO = {"host": "https://odoo.test", "password": "k3y", "schema": "clinic", "login": "feed"}
DATABASE = {
    "host": "db.test",
    "login": "clinica_sync",
    "password": "it's \\ odd",
    "schema": "shared",
}


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Define:
    def define(conn_type: str, **fields: Any) -> str:
        monkeypatch.setenv("AIRFLOW_CONN_TESTED", json.dumps({"conn_type": conn_type, **fields}))
        return "tested"

    return define


def test_the_odoo_connection_sets_address_key_database_and_timeout(connection: Define) -> None:
    hook = OdooHook(connection("odoo", **ODOO, extra={"timeout_s": 5}))
    http = hook.get_conn()._http
    assert str(http.base_url) == "https://odoo.test"
    assert http.headers["Authorization"] == "bearer k3y"
    assert http.headers["X-Odoo-Database"] == "clinic"
    assert http.timeout.read == 5
    assert hook.get_conn() is hook.get_conn()


def test_the_feed_streams_from_the_evented_address(connection: Define) -> None:
    extra = {"evented_url": "https://evented.test"}
    feed = OdooHook(connection("odoo", **ODOO, extra=extra)).get_feed()
    assert str(feed._stream_http.base_url) == "https://evented.test"
    assert str(feed._odoo._http.base_url) == "https://odoo.test"
    feed.close()


def test_a_connection_without_an_evented_address_says_so(connection: Define) -> None:
    with pytest.raises(PermanentError, match="'tested' has no evented_url"):
        OdooHook(connection("odoo", **ODOO)).get_feed()


def test_an_unfinished_connection_says_what_it_lacks(connection: Define) -> None:
    with pytest.raises(PermanentError, match="'tested' has no password and no schema: fill it in"):
        OdooHook(connection("odoo", host="https://odoo.test")).get_conn()
    with pytest.raises(PermanentError, match="'tested' has no login and no password: fill it in"):
        SharedDbHook(connection("clinic_shared_db", host="db", schema="shared")).get_conn()


def test_the_test_button_says_what_odoo_said(
    connection: Define, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = OdooHook(connection("odoo", **ODOO, extra={"evented_url": "https://evented.test"}))
    feed = create_autospec(OdooFeed, instance=True)
    odoo = create_autospec(OdooClient, instance=True)
    monkeypatch.setattr(hook, "get_feed", lambda: feed)
    monkeypatch.setattr(hook, "get_conn", lambda: odoo)
    feed.page.return_value = Page(cursor="abcdef", changes=[], reset=True)
    odoo.call.return_value = {"uid": 7}
    assert hook.test_connection() == (
        True,
        "Odoo knows the key (user 7) and serves its change feed",
    )
    feed.page.side_effect = PermanentError("HTTP 401. Check the API key")
    assert hook.test_connection() == (False, "HTTP 401. Check the API key")
    feed.close.assert_called_with()


def test_the_test_button_asks_for_no_feed_where_none_is_named(
    connection: Define, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = OdooHook(connection("odoo", **ODOO))
    odoo = create_autospec(OdooClient, instance=True)
    monkeypatch.setattr(hook, "get_conn", lambda: odoo)
    odoo.call.return_value = {"uid": 8}
    assert hook.test_connection() == (True, "Odoo knows the key (user 8)")


def test_the_shared_database_connection_survives_odd_passwords(connection: Define) -> None:
    client = SharedDbHook(connection("clinic_shared_db", **DATABASE, port=6543)).get_conn()
    assert psycopg.conninfo.conninfo_to_dict(client._conninfo) == {
        "host": "db.test",
        "port": "6543",
        "user": "clinica_sync",
        "password": "it's \\ odd",
        "dbname": "shared",
    }


def test_the_test_button_says_what_the_database_said(
    connection: Define, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = SharedDbHook(connection("clinic_shared_db", **DATABASE))
    client = create_autospec(SharedDb, instance=True)
    monkeypatch.setattr(hook, "get_conn", lambda: client)
    client.ping.return_value = "clinica_sync on shared (PostgreSQL 17)"
    assert hook.test_connection() == (True, "Logged in as clinica_sync on shared (PostgreSQL 17)")
    client.ping.side_effect = TransientError("connection refused")
    assert hook.test_connection() == (False, "connection refused")


def test_what_airflow_learns_of_us_fits_its_schema_and_our_hooks() -> None:
    schema = Path(airflow.__file__).with_name("provider_info.schema.json")
    info = get_provider_info()
    jsonschema.validate(info, json.loads(schema.read_text()))
    known = {each["connection-type"]: each["hook-class-name"] for each in info["connection-types"]}
    for hook in (OdooHook, OdooDatabaseHook, SharedDbHook):
        assert known.pop(hook.conn_type) == f"{hook.__module__}.{hook.__qualname__}"
        behaviour = hook.get_ui_field_behaviour()
        assert set(behaviour) == {"hidden_fields", "relabeling", "placeholders"}
    # The stores' own tests hold these hooks to their forms.
    assert known == {
        "clinic_drive": "clinic_airflow.hooks.drive.DriveHook",
        "clinic_webdav": "clinic_airflow.hooks.webdav.WebDavHook",
    }
