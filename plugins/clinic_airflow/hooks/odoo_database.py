"""Airflow's way in to Odoo's database and files themselves, for backups and restores."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from airflow.sdk import BaseHook
from clinic.errors import ClinicError, PermanentError
from psycopg.conninfo import make_conninfo

from clinic_airflow.lookup import LooksUp
from clinic_airflow.provider import ODOO_DATABASE_FORM, python_style


class OdooDatabaseHook(LooksUp, BaseHook):
    """Turns an Airflow connection into the address of Odoo's database and the place of its files.

    The connection holds: host, port, login (the role that owns Odoo's databases), password, schema
    (the database) and, in extra, ``filestore`` (the folder that holds a folder of files a database)
    and ``odoo_command`` (a list that starts Odoo, for drills).

    Args:
        odoo_database_conn_id: The connection to use.
    """

    conn_name_attr = "odoo_database_conn_id"
    default_conn_name = "odoo_database"
    conn_type = "clinic_odoo_database"
    hook_name = "Odoo's database and files"

    def __init__(self, odoo_database_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.odoo_database_conn_id = odoo_database_conn_id

    def conninfo(self) -> str:
        """Return the libpq address.

        Raises:
            PermanentError: The connection lacks a field.
        """
        connection = self.get_connection(self.odoo_database_conn_id)
        missing = [name for name in ("host", "login", "schema") if not getattr(connection, name)]
        if missing:
            raise PermanentError(
                f"Connection {self.odoo_database_conn_id!r} has no {' and no '.join(missing)}: "
                "fill it in under Admin, Connections."
            )
        return make_conninfo(
            host=connection.host,
            port=connection.port or 5432,
            user=connection.login,
            password=connection.password or None,
            dbname=connection.schema,
        )

    @property
    def database(self) -> str:
        """The database's name."""
        return str(self.get_connection(self.odoo_database_conn_id).schema)

    def filestores(self) -> Path:
        """Return the folder that holds a folder of files for each database.

        Raises:
            PermanentError: The connection names none.
        """
        return Path(self._extra("filestore", "the folder that holds a folder of files a database"))

    def odoo_command(self) -> list[str]:
        """Return what starts Odoo.

        Raises:
            PermanentError: The connection names nothing.
        """
        example = '["odoo", "-c", "/etc/odoo/odoo.conf"]'
        return list(map(str, self._extra("odoo_command", f"what starts Odoo, such as {example}")))

    def _extra(self, name: str, what: str) -> Any:
        found = self.get_connection(self.odoo_database_conn_id).extra_dejson.get(name)
        if not found:
            raise PermanentError(
                f"Connection {self.odoo_database_conn_id!r} has no {name} in its extra fields: "
                f"{what}."
            )
        return found

    def test_connection(self) -> tuple[bool, str]:
        """Back the *Test* button of the Connections page."""
        try:
            with closing(psycopg.connect(self.conninfo(), connect_timeout=10)) as database:
                database.execute("SELECT 1")
            files = self.filestores() / self.database
        except ClinicError as error:
            return False, str(error)
        except psycopg.Error as error:
            return False, f"Logging in to Odoo's database: {error}".strip()
        if not files.is_dir():
            return False, f"Logged in; but {files} is no folder that Airflow can see: correct it."
        return True, f"Logged in to {self.database}; its files are in {files}"

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Name the fields of the connection form as PostgreSQL names them."""
        return python_style(ODOO_DATABASE_FORM)
