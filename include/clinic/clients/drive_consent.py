"""A person lets the clinic use their Google Drive: OAuth for an installed application, with PKCE.

The browser comes back to this machine's loopback, so that no code is copied by hand.

Source: https://developers.google.com/identity/protocols/oauth2/native-app
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import requests
from google_auth_oauthlib.flow import InstalledAppFlow, WSGITimeoutError  # type: ignore[import-untyped]
from oauthlib.oauth2 import OAuth2Error  # type: ignore[import-untyped]

from clinic.clients.drive_login import SCOPE
from clinic.errors import PermanentError, TransientError

_TIMEOUT_S: Final = 30
_LOOPBACK: Final = "127.0.0.1"


class _Flow(InstalledAppFlow):  # type: ignore[misc]
    """The library's, with a timeout, and with the address said where we say it."""

    show: Callable[[str], None]

    def authorization_url(self, **kwargs: Any) -> tuple[str, str]:
        url, state = super().authorization_url(**kwargs)
        self.show(url)
        return url, state

    def fetch_token(self, **kwargs: Any) -> Any:
        return super().fetch_token(timeout=_TIMEOUT_S, **kwargs)


def authorize(
    client_file: Path,
    sink: Path,
    show: Callable[[str], None],
    *,
    port: int = 0,
    timeout_s: int = 600,
) -> datetime | None:
    """Let a person agree in their browser, and write the key file that comes of it.

    Args:
        client_file: The application's own file, as Google's console hands it out.
        sink: The key file, for its owner alone; one that is there is replaced.
        show: Told the address that the person opens.
        port: Where the browser comes back to; 0 is any free one.
        timeout_s: How long the person may take.

    Returns:
        When the consent ends; None where Google does not say.

    Raises:
        TransientError: Nobody agreed in time, or Google was out of reach.
        PermanentError: The application's file, or what the person decided, does not do.
    """
    client = _client(client_file)
    logging.getLogger("google_auth_oauthlib").setLevel(logging.WARNING)
    flow = _Flow.from_client_config({"installed": client}, scopes=[SCOPE])
    flow.show = show
    try:
        flow.run_local_server(
            host=_LOOPBACK,
            port=port,
            open_browser=False,
            authorization_prompt_message="",
            success_message="Clínica: listo, ya puede cerrar esta ventana. You may close this.",
            timeout_seconds=timeout_s,
            prompt="consent",  # else there is no refresh token the second time
        )
    except WSGITimeoutError:
        raise TransientError(
            f"Waiting for consent: nobody agreed within {timeout_s} s. Run it again, and open the "
            "address in a browser on this machine (or with `ssh -L`, see the guide)."
        ) from None
    except (OAuth2Error, Warning) as error:
        raise PermanentError(
            f"Asking Google for consent: {_said(error)}. Agree to everything that is asked, with "
            "the account whose Drive it is; if that was done, make a new client of type 'Desktop "
            "app'."
        ) from None
    except requests.RequestException as error:
        raise TransientError(
            f"Asking Google for a token: the connection broke ({type(error).__name__})."
        ) from None
    except OSError as error:
        raise PermanentError(
            f"Listening on {_LOOPBACK}:{port}: {error.strerror}. Name another --port."
        ) from None
    return _write(sink, client, flow.oauth2session.token)


def _client(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
        client: dict[str, Any] = content["installed"]
        if not {"client_id", "client_secret", "auth_uri", "token_uri"} <= client.keys():
            raise KeyError
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PermanentError(
            f"Reading the application's file {file}: {type(error).__name__}. In Google's console "
            "make a client of type 'Desktop app' and download its JSON."
        ) from None
    return client


def _said(error: Exception) -> str:
    if isinstance(error, OAuth2Error):
        return str(error.error)
    return "less was agreed to than was asked for"


def _write(sink: Path, client: dict[str, Any], token: dict[str, Any]) -> datetime | None:
    if not token.get("refresh_token"):
        raise PermanentError(
            "Google gave no refresh token. Remove the application's access at "
            "https://myaccount.google.com/connections, and run this again."
        )
    now = datetime.now(UTC)
    key = {
        "type": "authorized_user",
        "client_id": client["client_id"],
        "client_secret": client["client_secret"],
        "refresh_token": token["refresh_token"],
        "token_uri": client["token_uri"],
        "consent_at": now.isoformat(timespec="seconds"),
    }
    ends_at = None
    if seconds := token.get("refresh_token_expires_in"):  # an app in state 'testing'
        ends_at = now + timedelta(seconds=int(seconds))
        key["consent_ends_at"] = ends_at.isoformat(timespec="seconds")
    half = sink.with_name(f"{sink.name}.new")
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        json.dump(key, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    half.replace(sink)
    return ends_at
