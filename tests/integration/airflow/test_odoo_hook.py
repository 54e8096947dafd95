"""The hook's own session by odoorpc, against the stack's Odoo."""

import json
from collections.abc import Callable

import pytest
from clinic.errors import PermanentError
from clinic_airflow.hooks.odoo import OdooHook
from support.stack_env import needed

pytestmark = pytest.mark.stack


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Callable[..., OdooHook]:
    def connected(**fields: str) -> OdooHook:
        known = {
            "conn_type": "odoo", "host": needed("ODOO_URL"), "schema": needed("ODOO_DB"),
            "login": needed("ODOO_FEED_LOGIN"), "password": needed("ODOO_FEED_API_KEY"),
        }  # fmt: skip
        monkeypatch.setenv("AIRFLOW_CONN_TESTED", json.dumps(known | fields))
        return OdooHook("tested")

    return connected


def test_a_session_is_the_user_of_the_connection(hook: Callable[..., OdooHook]) -> None:
    odoo = hook().get_rpc()
    (user_id,) = odoo.call("res.users", "search", [["login", "=", needed("ODOO_FEED_LOGIN")]])
    assert odoo.call("res.users", "context_get")["uid"] == user_id
    with pytest.raises(PermanentError, match=r"stock\.location"):
        odoo.call("stock.location", "create", [{"name": "Not allowed"}])


def test_a_wrong_key_opens_no_session(hook: Callable[..., OdooHook]) -> None:
    with pytest.raises(PermanentError, match="ODOO_LOGIN"):
        hook(password="not the key").get_rpc()
