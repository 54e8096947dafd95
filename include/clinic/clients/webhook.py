"""Sends webhooks as Standard Webhooks says: signed, with an id that stays the same when sent again.

An address in a private network is refused unless the settings allow it, and what is connected to is
the very address that was looked at: a name that is answered otherwise a moment later leads nowhere.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from clinic.errors import PermanentError, TransientError

_RETRYABLE: Final = frozenset({408, 425, 429})
_LONGEST_PAUSE_S: Final = 3600
_WHERE: Final = "the connection clinic_alert_webhook"


class WebhookClient:
    """Posts JSON to one address.

    Args:
        url: Where to; https, and http too where private addresses are allowed.
        secret: ``whsec_…``, which the receiver checks signatures by.
        allow_private: Whether the address may lie in a private network, or be this machine.
        timeout_s: How long to wait for each step.

    Raises:
        PermanentError: The address or the secret cannot be used.
    """

    def __init__(
        self, url: str, secret: str, *, allow_private: bool = False, timeout_s: float = 10
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"https", "http"} or not parts.hostname:
            raise PermanentError(f"Webhook: the address is no https:// address. Correct {_WHERE}.")
        if parts.username or parts.password:
            raise PermanentError(f"Webhook: the address holds a login. Take it out of {_WHERE}.")
        if parts.scheme == "http" and not allow_private:
            raise PermanentError(
                f"Webhook: the address is not https://, so that others could read it. Correct "
                f"{_WHERE}, or set allow_private there if it is your own network."
            )
        try:
            self._signer = Webhook(secret)
        except (EmptyWebhookSecretError, RuntimeError, ValueError) as error:
            raise PermanentError(
                "Webhook: the secret cannot be used. Put whsec_ and base64 as the password in "
                f"{_WHERE}."
            ) from error
        self._url = httpx.URL(url)
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._allow_private = allow_private
        self._doing = f"Webhook to {self._host}"
        # Neither a redirect, which would lead past the check, nor a proxy of the environment.
        self._http = httpx.Client(
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            verify=ssl.create_default_context(),  # the authorities that this machine trusts
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, message_id: str, payload: Mapping[str, Any]) -> None:
        """Post a message. Sent again, it has the same id, by which a receiver knows it.

        Raises:
            TransientError: No answer, or one that invites another attempt.
            PermanentError: The receiver refused, or the address is private.
        """
        body = json.dumps(payload, ensure_ascii=False)
        now = datetime.now(UTC)
        headers = {
            "Host": self._url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": "clinic-alerts",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(message_id, now, body),
        }
        url = self._url.copy_with(host=self._address())
        try:
            with self._http.stream(
                "POST",
                url,
                content=body.encode(),
                headers=headers,
                # The certificate has to be the name's, not the number's.
                extensions={"sni_hostname": self._host},
            ) as answer:
                self._expect(answer)  # what it says beside its status, nobody reads
        except (httpx.TransportError, httpx.InvalidURL) as error:
            what = str(error) or type(error).__name__
            raise TransientError(
                f"{self._doing}: {what}. Trying again may help; is the receiver up?"
            ) from error

    def _address(self) -> str:
        """Return the number to connect to, once it is allowed."""
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise TransientError(
                f"{self._doing}: the name is not known ({error.strerror}). Trying again may help; "
                f"is it right in {_WHERE}?"
            ) from error
        addresses = [str(info[4][0]).partition("%")[0] for info in found]
        if not self._allow_private and any(not _is_public(address) for address in addresses):
            raise PermanentError(
                f"{self._doing}: it lies in a private network, and is not called. If that is "
                f"wanted, set allow_private in {_WHERE}."
            )
        return addresses[0]

    def _expect(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if answer.is_success:
            return
        said = f"{self._doing}: HTTP {status}."
        if status >= 500 or status in _RETRYABLE:
            after = answer.headers.get("Retry-After", "")
            after_s = min(float(after), _LONGEST_PAUSE_S) if after.isdecimal() else None
            raise TransientError(f"{said} Trying again may help.", retry_after_s=after_s)
        if answer.is_redirect:
            raise PermanentError(f"{said} It leads elsewhere. Put the final address in {_WHERE}.")
        raise PermanentError(f"{said} The receiver does not want it. Check {_WHERE}.")


def _is_public(address: str) -> bool:
    number = ipaddress.ip_address(address)
    if isinstance(number, ipaddress.IPv6Address):
        number = number.ipv4_mapped or number
    return number.is_global and not number.is_multicast
