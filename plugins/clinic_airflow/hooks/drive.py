"""Airflow's way in to Google Drive.

The connection is the Google provider's; uploads, downloads, folders and the trash are those of
:class:`clinic.clients.drive.DriveStore` and :class:`clinic.clients.drive_vault.DriveVault`, as the
provider's neither resume nor compare.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.google.suite.hooks.drive import GoogleDriveHook
from clinic.clients.drive import DriveStore
from clinic.clients.drive_files import GOOGLE
from clinic.clients.drive_login import SCOPE, credentials_of
from clinic.clients.drive_vault import DriveVault
from clinic.errors import PermanentError
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from clinic_airflow.hooks.store_test import logged_in
from clinic_airflow.lookup import LooksUp
from clinic_airflow.provider import DRIVE_FORM, python_style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.api_core.client_options import ClientOptions


class DriveHook(LooksUp, GoogleDriveHook):
    """Turns an Airflow connection into a document store in Google Drive.

    The connection holds, in extra: ``keyfile_dict`` (the text of a key file: a service account's,
    or an authorised user's) or ``credential_config_file`` (its path), ``delegate`` (in whose name a
    service account acts), ``drive_id`` (a shared drive), ``scope`` and ``api_endpoint``.

    Args:
        drive_conn_id: The connection to use.
    """

    conn_name_attr = "drive_conn_id"
    default_conn_name = "google_cloud_drive"
    conn_type = "clinic_drive"
    hook_name = "Google Drive of the clinic"

    def __init__(self, drive_conn_id: str = default_conn_name) -> None:
        super().__init__(gcp_conn_id=drive_conn_id)
        self.drive_conn_id = drive_conn_id

    @property
    def scopes(self) -> Sequence[str]:
        """What the access is for; the provider's default would be all of Google Cloud."""
        return [one.strip() for one in (self._get_field("scope") or SCOPE).split(",")]

    @property
    def endpoint(self) -> str:
        """The API's address."""
        return str(self._get_field("api_endpoint") or GOOGLE).rstrip("/")

    def get_client_options(self, api_endpoint_override: str | None = None) -> ClientOptions:
        """Point the provider's own methods to the same address."""
        return super().get_client_options(api_endpoint_override or self.endpoint)

    def get_credentials_and_project_id(self) -> tuple[Any, str | None]:
        """Return the credentials that the connection describes, and the project if it names one.

        Raises:
            PermanentError: It describes none, or they are not readable.
        """
        if self._cached_credentials is not None:
            return self._cached_credentials, self._cached_project_id
        keyfile = self._keyfile()
        try:
            credentials = credentials_of(keyfile, self.scopes, self._get_field("delegate") or None)
        except PermanentError as error:
            raise PermanentError(f"Connection {self.drive_conn_id!r}: {error}") from None
        except (ValueError, KeyError, TypeError, GoogleAuthError) as error:
            raise self._unreadable(error) from None
        self._cached_credentials = credentials
        self._cached_project_id = keyfile.get("project_id")
        return credentials, self._cached_project_id

    def _keyfile(self) -> dict[str, Any]:
        keyfile = self._get_field("keyfile_dict") or {}
        try:
            if path := self._get_field("credential_config_file") if not keyfile else None:
                keyfile = Path(path).read_text()
            if isinstance(keyfile, str):
                keyfile = json.loads(keyfile)
        except (ValueError, OSError) as error:
            raise self._unreadable(error) from None
        if not keyfile:
            raise PermanentError(
                f"Connection {self.drive_conn_id!r} has no key: paste a service account's key file "
                "under 'Key of the service account', or name a credentials file."
            )
        found: dict[str, Any] = keyfile
        return found

    def _unreadable(self, error: Exception) -> PermanentError:
        # The error's text may quote the key file.
        return PermanentError(
            f"The credentials of connection {self.drive_conn_id!r} are not readable "
            f"({type(error).__name__}): paste the whole key file that Google handed out, or "
            "name a file that Airflow can read."
        )

    def consent_ends_at(self) -> datetime | None:
        """Return when a person's consent ends; None where no end is known.

        ``clinic drive authorize`` writes it into the file when Google says it.
        """
        self.get_credentials()  # is refused with a sentence where the key is not readable
        ends_at = self._keyfile().get("consent_ends_at")
        return datetime.fromisoformat(ends_at) if ends_at else None

    def get_session(self) -> AuthorizedSession:
        """Return an authorised session. It refreshes its token at a 401, once."""
        return AuthorizedSession(  # type: ignore[no-untyped-call]
            self.get_credentials(), max_refresh_attempts=1
        )

    def get_store(self, root_folder: str) -> DriveStore:
        """Return the document store below a folder. Close it after use."""
        return DriveStore(
            self.get_session(),
            root_folder,
            drive_id=self._get_field("drive_id") or None,
            endpoint=self.endpoint,
            account=self.drive_conn_id,
        )

    def get_vault(self, root_folder: str) -> DriveVault:
        """Return the vault for backups below a folder. Close it after use."""
        return DriveVault(
            self.get_session(),
            root_folder,
            drive_id=self._get_field("drive_id") or None,
            endpoint=self.endpoint,
        )

    def test_connection(self) -> tuple[bool, str]:
        """Back the *Test* button of the Connections page."""
        return logged_in(self)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Hide the fields of the connection form that Drive does not need."""
        return python_style(DRIVE_FORM)
