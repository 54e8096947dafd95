"""Airflow's way in to the shared database."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseHook
from clinic.clients.shared_db import SharedDb
from clinic.errors import ClinicError, PermanentError
from psycopg.conninfo import make_conninfo

from clinic_airflow.lookup import LooksUp
from clinic_airflow.provider import SHARED_DB_FORM, python_style


class SharedDbHook(LooksUp, BaseHook):
    """Turns an Airflow connection into clients of the shared database.

    The connection holds: host, port, login (``clinica_sync``), password and schema (the database).

    Args:
        shared_db_conn_id: The connection to use.
    """

    conn_name_attr = "shared_db_conn_id"
    default_conn_name = "shared_db"
    conn_type = "clinic_shared_db"
    hook_name = "Shared database of the clinic"

    def __init__(self, shared_db_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.shared_db_conn_id = shared_db_conn_id

    def get_conn(self, *, is_durable: bool = False, statement_timeout_s: float = 60) -> SharedDb:
        """Return a new client, which connects when it is first used. Close it after use.

        Args:
            is_durable: See :class:`~clinic.clients.shared_db.SharedDb`.
            statement_timeout_s: The longest that any one statement may take; shorter than the
                task's execution_timeout.
        """
        return SharedDb(
            self.conninfo(), is_durable=is_durable, statement_timeout_s=statement_timeout_s
        )

    def conninfo(self) -> str:
        """Return the address, for clients of one part of the database.

        Raises:
            PermanentError: The connection lacks a field.
        """
        connection = self.get_connection(self.shared_db_conn_id)
        missing = [
            name
            for name in ("host", "login", "password", "schema")
            if not getattr(connection, name)
        ]
        if missing:
            raise PermanentError(
                f"Connection {self.shared_db_conn_id!r} has no {' and no '.join(missing)}: fill it "
                "in under Admin, Connections."
            )
        return make_conninfo(
            host=connection.host,
            port=connection.port or 5432,
            user=connection.login,
            password=connection.password,
            dbname=connection.schema,
        )

    def test_connection(self) -> tuple[bool, str]:
        """Back the *Test* button of the Connections page."""
        try:
            client = self.get_conn()
            said = client.ping()
            client.close()
        except ClinicError as error:
            return False, str(error)
        return True, f"Logged in as {said}"

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Name the fields of the connection form as PostgreSQL names them."""
        return python_style(SHARED_DB_FORM)
