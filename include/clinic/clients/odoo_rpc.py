"""Odoo's RPC as a logged-in person uses it, by odoorpc.

For what needs a session's rights and many small calls. Hot paths use JSON-2
(:mod:`clinic.clients.odoo`): Odoo 19 still serves ``/jsonrpc``, which odoorpc speaks, but has
announced its end, so that odoorpc is named in this module only.

Source: https://www.odoo.com/documentation/19.0/developer/reference/external_rpc_api.html
"""

from __future__ import annotations

import http.client
import io
import json
import logging
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import CookieJar
from typing import Any, Self
from urllib.parse import urlsplit

import odoorpc
import odoorpc.error
import stamina

from clinic.errors import PermanentError, TransientError

# Methods that write nothing: after any failure they can simply be called again.
READ_ONLY = frozenset({
    "context_get", "default_get", "fields_get", "has_group", "name_search", "read", "read_group",
    "formatted_read_group", "search", "search_count", "search_read",
})  # fmt: skip

# Odoo rolled the transaction back and says so: nothing was written, whatever the method.
_ROLLED_BACK = (
    "SerializationFailure",
    "DeadlockDetected",
    "LockNotAvailable",
    "TransactionRollbackError",
    "ConcurrencyError",
)
# PostgreSQL went away below Odoo. The commit may have been reached.
_BROKEN_BELOW = ("OperationalError", "InterfaceError", "PoolError", "AdminShutdown")

_NO_ANSWER = "no answer in time. It may have been carried out all the same."
_BROKEN_OFF = "the connection broke. It may have been carried out all the same."
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class NotAppliedError(TransientError):
    """The call changed nothing in Odoo: it never arrived there, or was rolled back."""


class OdooRpc:
    """Calls the methods of Odoo's models, one transaction a call. Threads may share it.

    A call that certainly changed nothing is tried again, five times at most; so is one that only
    reads. Any other failure goes to the caller, who alone can look whether the change was made.

    Args:
        url: Odoo's address, ``http://127.0.0.1:8069``.
        database: Its database.
        login: Whose rights are used.
        password: Their password or API key.
        timeout_s: How long one answer may take. 0 and less are refused: they would mean for ever.
        ca_file: The certificate authority to trust, for an https address; default the system's.
        attempts: How often a call is tried in all.

    Raises:
        TransientError: Odoo cannot be reached, or is starting.
        PermanentError: The address, the database, the login or the password is wrong.
    """

    def __init__(
        self,
        url: str,
        database: str,
        login: str,
        password: str,
        *,
        timeout_s: float = 60,
        ca_file: str | None = None,
        attempts: int = 5,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
            raise PermanentError(
                f"Odoo's address is {url!r}: expected http(s)://host[:port]. Check ODOO_URL."
            )
        if timeout_s <= 0:
            raise ValueError(f"timeout_s must be positive, got {timeout_s}")
        # At level DEBUG odoorpc logs each call with its arguments, the password among them.
        logging.getLogger("odoorpc").setLevel(logging.INFO)
        self._attempts = attempts
        doing = f"Logging {login} in to Odoo"
        try:
            for attempt in self._retries(read_only=True):
                with attempt, _as_clinic_error(doing):
                    # Its first request asks for the version, so this may fail as any call may.
                    self._odoo = odoorpc.ODOO(
                        parts.hostname,
                        protocol="jsonrpc+ssl" if parts.scheme == "https" else "jsonrpc",
                        port=parts.port or (443 if parts.scheme == "https" else 80),
                        timeout=timeout_s,
                        opener=_Opener(parts.hostname, ca_file),
                    )
                    self._odoo.login(database, login, password)
        except PermanentError as error:
            raise PermanentError(
                f"{error} Check ODOO_DB ({database}), ODOO_LOGIN and ODOO_PASSWORD."
            ) from error.__cause__

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, timeout_s: float = 60) -> Self:
        """Return a client for the addresses that ``make up`` writes to ``stack.env``.

        Raises:
            PermanentError: A name is missing.
        """
        names = ("ODOO_URL", "ODOO_DB", "ODOO_LOGIN", "ODOO_PASSWORD")
        if missing := [name for name in names if not environment.get(name)]:
            raise PermanentError(
                f"No {', '.join(missing)} in the environment. Run `make up`, then load the "
                f"addresses it wrote: set -a; . .state/stack.env; set +a"
            )
        return cls(
            *(environment[name] for name in names),
            timeout_s=timeout_s,
            ca_file=environment.get("CA_FILE") or None,
        )

    def call(self, model: str, method: str, *arguments: Any, **named: Any) -> Any:
        """Return what ``model.method(*arguments, **named)`` returns in Odoo.

        The ids to work on are the first argument, as for any Odoo RPC. ``context=`` is named.

        Raises:
            NotAppliedError: Nothing was changed, five times over.
            TransientError: Odoo failed; a call that writes may or may not have been applied.
            PermanentError: Odoo refused the call.
        """
        for attempt in self._retries(read_only=method in READ_ONLY):
            with attempt, _as_clinic_error(f"Odoo {model}.{method}"):
                return self._odoo.execute_kw(model, method, list(arguments), named)
        raise AssertionError("stamina raises what the last attempt raised")

    def _retries(self, *, read_only: bool) -> Any:
        return stamina.retry_context(
            on=TransientError if read_only else NotAppliedError,
            attempts=self._attempts,
            timeout=120,
            wait_initial=0.1,
            wait_max=5.0,
        )


@contextmanager
def _as_clinic_error(doing: str) -> Iterator[None]:
    """Turn what odoorpc and urllib let escape into the errors of this project.

    odoorpc documents ``URLError`` only. A timeout while the answer is read is a bare
    ``TimeoutError`` (https://github.com/OCA/odoorpc/issues/76), a closed connection one of
    http.client's, a proxy's HTML page a ``JSONDecodeError``.
    """
    try:
        yield
    except odoorpc.error.RPCError as error:
        raise _of_rpc_error(doing, error) from None  # its cause holds Odoo's traceback
    except urllib.error.HTTPError as error:
        error.close()  # it is an open response
        if error.code >= 500 or error.code in {408, 429}:
            raise TransientError(f"{doing}: HTTP {error.code}. Trying again may help.") from error
        raise PermanentError(
            f"{doing}: HTTP {error.code}. Trying again cannot help: check Odoo's address."
        ) from error
    except urllib.error.URLError as error:
        match error.reason:
            case ConnectionRefusedError() | socket.gaierror():
                raise NotAppliedError(
                    f"{doing}: Odoo cannot be reached ({error.reason}). Is it running? See "
                    f"`make status`."
                ) from error
            case ssl.SSLCertVerificationError():
                raise PermanentError(
                    f"{doing}: its certificate is not trusted. Set CA_FILE to the authority's."
                ) from error
            case TimeoutError():
                raise TransientError(f"{doing}: {_NO_ANSWER}") from error
        raise TransientError(f"{doing}: {_BROKEN_OFF} ({error.reason})") from error
    except TimeoutError as error:
        raise TransientError(f"{doing}: {_NO_ANSWER}") from error
    except (http.client.HTTPException, ConnectionError) as error:
        raise TransientError(f"{doing}: {_BROKEN_OFF} ({type(error).__name__})") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TransientError(
            f"{doing}: the answer is not Odoo's (no JSON). If it stays so, check that ODOO_URL is "
            f"Odoo's own address."
        ) from error


def _of_rpc_error(doing: str, error: odoorpc.error.RPCError) -> TransientError | PermanentError:
    """Say what an error that Odoo itself answered means; its traceback is left behind."""
    data = (error.info or {}).get("data") or {}
    name = str(data.get("name", ""))
    said = str(error).strip().splitlines()
    message = said[0][:300].rstrip(".") if said else name
    if name.endswith(_ROLLED_BACK):
        return NotAppliedError(f"{doing}: another change got in between ({name}).")
    if name.endswith(_BROKEN_BELOW) and "does not exist" not in str(error):
        return TransientError(f"{doing}: Odoo lost its database ({name}). Trying again may help.")
    return PermanentError(f"{doing}: {message}. Trying again cannot help.")


class _Opener:
    """Opens an address for odoorpc, and closes it: odoorpc leaves that to the garbage collector.

    Args:
        host: Whom it will talk to.
        ca_file: The certificate authority to trust; None for the system's.
    """

    def __init__(self, host: str, ca_file: str | None) -> None:
        handlers: list[urllib.request.BaseHandler] = [
            urllib.request.HTTPCookieProcessor(CookieJar())
        ]
        if host in _LOOPBACK:
            # A proxy cannot reach this machine's own loopback.
            handlers.append(urllib.request.ProxyHandler({}))
        if ca_file:
            handlers.append(
                urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file))
            )
        self._director = urllib.request.build_opener(*handlers)

    def open(self, request: urllib.request.Request, timeout: float) -> io.BytesIO:
        """Return the answer's whole body."""
        with self._director.open(request, timeout=timeout) as response:
            return io.BytesIO(response.read())
