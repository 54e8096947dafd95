"""Airflow's way in to Odoo."""

from __future__ import annotations

from contextlib import closing
from functools import cached_property
from typing import Any

from airflow.sdk import BaseHook, Connection
from clinic.clients.odoo import OdooClient
from clinic.clients.odoo_feed import OdooFeed
from clinic.clients.odoo_rpc import OdooRpc
from clinic.errors import ClinicError, PermanentError

from clinic_airflow.lookup import LooksUp
from clinic_airflow.provider import ODOO_FORM, python_style


class OdooHook(LooksUp, BaseHook):
    """Turns an Airflow connection into clients of Odoo.

    The connection holds: host (``https://odoo.clinic.example``), port where it is not the scheme's
    own, login and password (a service user and its API key), schema (the database) and, in extra,
    ``evented_url`` (where the change feed is streamed) and ``timeout_s`` (default 30).

    Args:
        odoo_conn_id: The connection to use.
    """

    conn_name_attr = "odoo_conn_id"
    default_conn_name = "odoo_default"
    conn_type = "odoo"
    hook_name = "Odoo"

    def __init__(self, odoo_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.odoo_conn_id = odoo_conn_id

    def get_conn(self) -> OdooClient:
        """Return the JSON-2 client; every call on this hook returns the same one."""
        return self._client

    def get_feed(self) -> OdooFeed:
        """Return a reader of the change feed. Close it after use."""
        connection = self._fields("host", "password", "schema")
        evented_url = connection.extra_dejson.get("evented_url")
        if not evented_url:
            raise PermanentError(
                f"Connection {self.odoo_conn_id!r} has no evented_url in its extra fields: set it "
                "to the address of Odoo's gevent_port."
            )
        return OdooFeed.connect(
            _url(connection),
            evented_url,
            database=connection.schema or "",
            api_key=connection.password or "",
            timeout_s=self._timeout_s(connection),
        )

    def get_rpc(self) -> OdooRpc:
        """Return a logged-in session, by odoorpc, for what JSON-2 does not offer."""
        connection = self._fields("host", "login", "password", "schema")
        return OdooRpc(
            _url(connection),
            connection.schema or "",
            connection.login or "",
            connection.password or "",
            timeout_s=self._timeout_s(connection),
        )

    @cached_property
    def _client(self) -> OdooClient:
        connection = self._fields("host", "password", "schema")
        return OdooClient.connect(
            _url(connection),
            database=connection.schema or "",
            api_key=connection.password or "",
            timeout_s=self._timeout_s(connection),
        )

    def _fields(self, *names: str) -> Connection:
        """Return the connection, once it has all these fields."""
        connection = self.get_connection(self.odoo_conn_id)
        missing = [name for name in names if not getattr(connection, name)]
        if missing:
            raise PermanentError(
                f"Connection {self.odoo_conn_id!r} has no {' and no '.join(missing)}: fill it in "
                "under Admin, Connections."
            )
        return connection

    @staticmethod
    def _timeout_s(connection: Connection) -> float:
        return float(connection.extra_dejson.get("timeout_s") or 30)

    def test_connection(self) -> tuple[bool, str]:
        """Back the *Test* button of the Connections page.

        A connection without ``evented_url`` is of a user who does not read the change feed.
        """
        try:
            user = self.get_conn().call("res.users", "context_get")
            known = f"Odoo knows the key (user {user.get('uid')})"
            if not self.get_connection(self.odoo_conn_id).extra_dejson.get("evented_url"):
                return True, known
            with closing(self.get_feed()) as feed:
                feed.page(None, 1)
        except ClinicError as error:
            return False, str(error)
        return True, f"{known} and serves its change feed"

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Name the fields of the connection form as Odoo names them."""
        return python_style(ODOO_FORM)


def _url(connection: Connection) -> str:
    host = (connection.host or "").rstrip("/")
    return f"{host}:{connection.port}" if connection.port else host
