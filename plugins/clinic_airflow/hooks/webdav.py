"""Airflow's way in to a WebDAV server, such as Nextcloud."""

from __future__ import annotations

from typing import Any, Final

from airflow.sdk import BaseHook
from clinic.clients.webdav import WebDavStore
from clinic.errors import PermanentError

from clinic_airflow.hooks.store_test import logged_in
from clinic_airflow.lookup import LooksUp
from clinic_airflow.provider import WEBDAV_FORM, python_style

_IS_NEXTCLOUD: Final = {"auto": None, "yes": True, "no": False}


class WebDavHook(LooksUp, BaseHook):
    """Turns an Airflow connection into a document store on a WebDAV server.

    The connection holds: host (the account's folder in full,
    ``https://cloud.example/remote.php/dav/files/USER``), login and password (an app password) and,
    in extra, ``bearer`` (the password is a token), ``is_nextcloud`` (auto, yes, no) and
    ``timeout_s`` (default 30).

    Args:
        webdav_conn_id: The connection to use.
    """

    conn_name_attr = "webdav_conn_id"
    default_conn_name = "nextcloud_default"
    conn_type = "clinic_webdav"
    hook_name = "Nextcloud, or another WebDAV server"

    def __init__(self, webdav_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.webdav_conn_id = webdav_conn_id

    def get_store(self, root_folder: str) -> WebDavStore:
        """Return the document store below a folder. Close it after use.

        Raises:
            PermanentError: The connection lacks a field, or one cannot be read.
        """
        connection = self.get_connection(self.webdav_conn_id)
        extra = connection.extra_dejson
        is_bearer = str(extra.get("bearer") or "").lower() in {"true", "yes", "1"}
        needed = ("host", "password") if is_bearer else ("host", "login", "password")
        if missing := [name for name in needed if not getattr(connection, name)]:
            raise PermanentError(
                f"Connection {self.webdav_conn_id!r} has no {' and no '.join(missing)}: fill it "
                "in under Admin, Connections."
            )
        if connection.port:
            raise PermanentError(
                f"Connection {self.webdav_conn_id!r} has a port: write the port into the address, "
                "https://cloud.example:8443/…, and leave that field empty."
            )
        dialect = str(extra.get("is_nextcloud") or "auto").lower()
        if dialect not in _IS_NEXTCLOUD:
            raise PermanentError(
                f"Connection {self.webdav_conn_id!r} says {dialect!r} for is_nextcloud: write "
                "auto, yes or no."
            )
        try:
            timeout_s = float(extra.get("timeout_s") or 30)
        except ValueError:
            raise PermanentError(
                f"Connection {self.webdav_conn_id!r} has a timeout_s that is no number."
            ) from None
        return WebDavStore.connect(
            connection.host or "",
            root_folder,
            login=connection.login or "",
            password=connection.password or "",
            is_bearer=is_bearer,
            is_nextcloud=_IS_NEXTCLOUD[dialect],
            timeout_s=timeout_s,
        )

    def test_connection(self) -> tuple[bool, str]:
        """Back the *Test* button of the Connections page."""
        return logged_in(self)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Name the fields of the connection form as people know them."""
        return python_style(WEBDAV_FORM)
