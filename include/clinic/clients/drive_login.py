"""Logging in to Google Drive without Airflow: by a key file, or by a connection's JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import credentials as person
from google.oauth2 import service_account

from clinic.clients.drive_files import GOOGLE
from clinic.clients.drive_vault import DriveVault
from clinic.errors import PermanentError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

SCOPE: Final = "https://www.googleapis.com/auth/drive"
GOOGLE_TOKENS: Final = "https://oauth2.googleapis.com/token"


@dataclass(frozen=True, slots=True, repr=False)  # it holds a secret
class DriveLogin:
    """Who logs in, and where to.

    Attributes:
        key: What Google's key file says: a service account's, or an authorised user's.
        drive_id: The shared drive; None is the account's own.
        endpoint: The API's address.
        delegate: In whose name a service account acts.
    """

    key: Mapping[str, Any]
    drive_id: str | None = None
    endpoint: str = GOOGLE
    delegate: str | None = None

    @classmethod
    def from_connection(cls, text: str) -> Self:
        """Read the connection as Airflow exports it: ``{"conn_type": …, "extra": {…}}``.

        Raises:
            PermanentError: It is no such JSON, or has no key.
        """
        try:
            extra = json.loads(text)["extra"]
            extra = json.loads(extra) if isinstance(extra, str) else extra
            key = extra.get("keyfile_dict") or {}
            key = json.loads(key) if isinstance(key, str) else key
            if not key and (path := extra.get("credential_config_file")):
                key = json.loads(Path(path).read_text())
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            # The text holds the key; the error's own words may quote it.
            raise PermanentError(
                f"Reading the connection to Drive: it cannot be read ({type(error).__name__}). It "
                'is the JSON that Airflow exports: {"conn_type": "clinic_drive", "extra": {…}}.'
            ) from None
        return cls(
            key,
            extra.get("drive_id") or None,
            (extra.get("api_endpoint") or GOOGLE).rstrip("/"),
            extra.get("delegate") or None,
        )

    @classmethod
    def from_key_file(cls, path: Path, drive_id: str | None, endpoint: str) -> Self:
        """Read a key file that Google handed out.

        Raises:
            PermanentError: It cannot be read.
        """
        try:
            return cls(json.loads(path.read_text()), drive_id, endpoint.rstrip("/"))
        except (ValueError, OSError) as error:
            raise PermanentError(
                f"Reading the key file {path}: {type(error).__name__}. Name the file that Google "
                "handed out."
            ) from None

    @property
    def ca_file(self) -> str | None:
        """The file of the authority that signed a stand-in's certificate; Google needs none."""
        return os.environ.get("CA_FILE") if self.endpoint != GOOGLE else None

    def vault(self, folder: str) -> DriveVault:
        """Return the vault below a folder. Close it after use.

        Raises:
            PermanentError: The key is of no kind that is known.
        """
        if self.ca_file:
            # The stand-in's authority is no public one. Only this variable is heeded by the
            # requests for tokens too, and the private Debian sets it to something else.
            os.environ["REQUESTS_CA_BUNDLE"] = self.ca_file
        session = AuthorizedSession(self._credentials(), max_refresh_attempts=1)  # type: ignore[no-untyped-call]
        return DriveVault(session, folder, drive_id=self.drive_id, endpoint=self.endpoint)

    def _credentials(self) -> Credentials:
        try:
            return credentials_of(self.key, [SCOPE], self.delegate)
        except (KeyError, ValueError, TypeError, GoogleAuthError) as error:
            raise PermanentError(
                f"Reading the key for Drive: {type(error).__name__}. Take the whole key file that "
                "Google handed out."
            ) from None


def credentials_of(
    key: Mapping[str, Any], scopes: Sequence[str], delegate: str | None = None
) -> Credentials:
    """Return the credentials of a key file: a service account's, or an authorised user's.

    Not by ``google.auth.load_credentials_from_file``: it takes any kind, one that runs a program
    among them, and Google calls it deprecated for that.

    Args:
        key: What the file says.
        scopes: What the access is for.
        delegate: In whose name a service account acts.

    Raises:
        PermanentError: The key is of another kind, or a person's with a delegate.
        KeyError, ValueError, TypeError, GoogleAuthError: It is not whole. Their texts may quote it.
    """
    if key["type"] == "service_account":
        found = service_account.Credentials.from_service_account_info(key, scopes=scopes)  # type: ignore[no-untyped-call]
        return found.with_subject(delegate) if delegate else found  # type: ignore[no-any-return]
    if key["type"] != "authorized_user":
        raise PermanentError(
            "The key for Drive is of a kind that is not used here: take a service account's, or an "
            "authorised user's."
        )
    if delegate:
        raise PermanentError(
            "A delegate is named for Drive, which only a service account can act for: leave it "
            "out, or use a service account's key."
        )
    # from_authorized_user_info would not heed the file's token_uri.
    return person.Credentials(  # type: ignore[no-untyped-call]
        None,
        refresh_token=key["refresh_token"],
        token_uri=key.get("token_uri") or GOOGLE_TOKENS,
        client_id=key["client_id"],
        client_secret=key["client_secret"],
        scopes=scopes,
    )
