"""WebDavHook: from an Airflow connection to a store."""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from unittest.mock import create_autospec

import pytest
from clinic.clients.webdav import WebDavStore
from clinic.errors import PermanentError, TransientError
from clinic_airflow.hooks.webdav import WebDavHook
from clinic_airflow.provider import get_provider_info

Define = Callable[..., WebDavHook]
HOST = "https://cloud.test/remote.php/dav/files/clinica"


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Define:
    def define(**fields: Any) -> WebDavHook:
        values = {
            "host": HOST,
            "login": "clinica",
            "password": "pass",
            "conn_type": "clinic_webdav",
        }
        monkeypatch.setenv("AIRFLOW_CONN_TESTED", json.dumps(values | fields))
        return WebDavHook("tested")

    return define


def authorization(store: WebDavStore) -> str:
    http = store._dav._http
    request = http.build_request("GET", HOST)
    flow = http._build_request_auth(request).sync_auth_flow(request)
    return str(next(flow).headers["Authorization"])


def test_an_app_password_is_sent_with_the_login(hook: Define) -> None:
    store = hook(extra={"timeout_s": 7}).get_store("Clinica/Documentos")
    assert authorization(store) == f"Basic {b64encode(b'clinica:pass').decode()}"
    assert store._url == HOST
    assert store._root == ("Clinica", "Documentos")
    assert store._nextcloud is not None
    assert store._dav._http.timeout.read == 7
    store.close()


@pytest.mark.parametrize("bearer", [True, "true"])
def test_a_bearer_token_needs_no_login(hook: Define, bearer: object) -> None:
    store = hook(login=None, extra={"bearer": bearer}).get_store("")
    assert authorization(store) == "Bearer pass"
    store.close()


def test_the_dialect_can_be_said(hook: Define) -> None:
    store = hook(extra={"is_nextcloud": "no"}).get_store("")
    assert store._nextcloud is None
    store.close()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"login": None, "password": None}, "'tested' has no login and no password: fill it in"),
        ({"host": None}, "'tested' has no host"),
        ({"password": None, "extra": {"bearer": True}}, "'tested' has no password"),
        ({"extra": {"is_nextcloud": "maybe"}}, "write auto, yes or no"),
        ({"extra": {"timeout_s": "soon"}}, "timeout_s that is no number"),
        ({"port": 8443}, "write the port into the address"),
        ({"host": "https://a:b@cloud.test"}, "holds a login or a password"),
        ({"host": "cloud.test"}, "no address of a WebDAV folder"),
        ({"host": "https://dav.test", "extra": {"is_nextcloud": "yes"}}, "copy it from Files"),
    ],
)
def test_an_unfinished_connection_says_what_is_wrong(
    hook: Define, fields: dict[str, Any], says: str
) -> None:
    made = hook(**fields)
    with pytest.raises(PermanentError, match=says):
        made.get_store("")
    is_good, said = made.test_connection()
    assert not is_good
    assert says in said


def test_the_test_button_says_what_the_server_said(
    hook: Define, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = hook()
    store = create_autospec(WebDavStore, instance=True)
    monkeypatch.setattr(made, "get_store", lambda root: store)
    store.check.return_value = "Logged in to Nextcloud"
    assert made.test_connection() == (True, "Logged in to Nextcloud")
    store.check.side_effect = TransientError("HTTP 401 Unauthorized. Make a new app password")
    assert made.test_connection() == (False, "HTTP 401 Unauthorized. Make a new app password")
    assert store.close.call_count == 2


def test_airflow_knows_the_connection_by_this_hook() -> None:
    known = {each["connection-type"]: each for each in get_provider_info()["connection-types"]}
    entry = known[WebDavHook.conn_type]
    assert entry["hook-class-name"] == f"{WebDavHook.__module__}.{WebDavHook.__qualname__}"
    assert entry["hook-name"] == WebDavHook.hook_name
    assert set(WebDavHook.get_ui_field_behaviour()) == {
        "hidden_fields",
        "relabeling",
        "placeholders",
    }
