"""Odoo's External JSON-2 API (Odoo 19 and later).

Every failure becomes a :class:`~clinic.errors.TransientError` or a
:class:`~clinic.errors.PermanentError` that says what was being done, what came back and what to do.
Odoo's error bodies carry a server traceback in ``debug``: it is never read, shown or logged.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import stamina

from clinic.documents.reasons import ParkReason, WaitReason
from clinic.errors import AwayError, ParkError, PermanentError, TransientError

# Where documents lie in Odoo; nothing else is ever downloaded.
DOCUMENT_PATH: Final = re.compile(
    r"/clinic/documents/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/[1-9][0-9]{0,8}/content"
)

# The only 4xx codes that invite another attempt (RFC 9110 section 15.5.9, RFC 6585 section 4).
RETRYABLE_4XX = frozenset({408, 429})

# What each refusal means in Odoo's JSON-2, and who can do something about it.
ADVICE: Mapping[int, str] = {
    401: "Check the API key: it may be wrong, expired or revoked.",
    403: "Check what the key's user may do: it lacks access, or the method is private.",
    404: "Check the database's name, and that the addon with this model and method is installed.",
    421: "Check evented_url: it must be Odoo's evented port (gevent_port), not its HTTP port.",
    422: "The arguments do not fit the method: this is a fault of the calling code.",
}


class OdooRefusedError(PermanentError):
    """Odoo refused the arguments (HTTP 422), not the caller: another call may well succeed."""


class OdooClient:
    """Calls the methods of Odoo's models, one transaction per call.

    Args:
        http: A client whose ``base_url``, ``Authorization`` header and timeout are set; see
            :meth:`connect`.

    Source: https://www.odoo.com/documentation/19.0/developer/reference/external_api.html
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._timeout = http.timeout

    @classmethod
    def connect(cls, url: str, *, database: str, api_key: str, timeout_s: float = 30) -> OdooClient:
        """Return a client for one database of the Odoo at ``url``, as the user of ``api_key``."""
        return cls(http_client(url, database=database, api_key=api_key, timeout_s=timeout_s))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def within(self, timeout_s: float) -> OdooClient:
        """Return this client with another timeout, over the same connections."""
        other = OdooClient(self._http)
        other._timeout = httpx.Timeout(timeout_s)
        return other

    def call(self, model: str, method: str, /, **arguments: Any) -> Any:
        """Return what ``model.method(**arguments)`` returns in Odoo.

        Decimal fractions come as :class:`~decimal.Decimal`, with the digits Odoo sent.

        Raises:
            TransientError: Odoo was out of reach, slow, overloaded or broken (5xx, 408, 429), or
                its answer was cut short or was not JSON.
            PermanentError: Odoo refused the call: bad key, no access, no such method.
        """
        doing = f"Odoo {model}.{method}"
        try:
            response = self._http.post(
                f"/json/2/{model}/{method}", json=arguments, timeout=self._timeout
            )
        except httpx.TransportError as error:
            raise out_of_reach(doing, error) from error
        return read_answer(doing, response)

    def search_read(
        self, model: str, domain: list[Any], fields: list[str], *, page_size: int = 2000
    ) -> Iterator[dict[str, Any]]:
        """Yield the records of ``domain``, archived ones too, in order of id.

        Pages are keyed by id, so that rows coming and going meanwhile shift no page. Many2one
        fields come as bare ids (``load=None``), which takes Odoo a fifth of the time.
        """
        after = 0
        while True:
            records = reading(
                self.call,
                model,
                "search_read",
                domain=["&", ["id", ">", after], *_conjunction(domain)],
                fields=fields,
                limit=page_size,
                order="id",
                load=None,
                context={"active_test": False},
            )
            yield from records
            if len(records) < page_size:
                return
            after = records[-1]["id"]

    def download(self, path: str, sink: Path, max_bytes: int, *, longest_s: float = 600) -> None:
        """Write a document into the file ``sink`` by chunks: its size costs no memory.

        A failure leaves in ``sink`` what had come by then.

        Args:
            path: What a message names: a path below ``/clinic/documents/`` of this very Odoo.
            sink: The file to write; what it holds is replaced.
            max_bytes: More than this is not read.
            longest_s: How long it may take altogether, however steadily bytes drip in.

        Raises:
            TransientError: Odoo was out of reach, slow, broken, or refused the key (somebody puts
                that right, and the document goes on); or the file could not be written.
            ParkError: The path is not a document's, or Odoo no longer has it, or it is too large.
        """
        if not DOCUMENT_PATH.fullmatch(path):
            raise _not_a_document(path)
        doing = f"Downloading {path} from Odoo"
        give_up_at = time.monotonic() + longest_s
        try:
            with self._http.stream(
                "GET",
                path,
                # What is stored has to be what Odoo's hash was made of, byte for byte.
                headers={"Accept-Encoding": "identity"},
                timeout=self._timeout,
                follow_redirects=False,  # another address would be sent the API key
            ) as response:
                _expect_content(doing, response)
                _save(doing, response, sink, max_bytes, give_up_at)
        except httpx.TransportError as error:
            raise AwayError(WaitReason.ODOO_AWAY, str(out_of_reach(doing, error))) from error
        except OSError as error:
            raise AwayError(
                WaitReason.NO_ROOM,
                f"{doing}: {sink} could not be written ({error.strerror or error}). Make room on "
                "the disk; trying again may help.",
            ) from error


def _not_a_document(path: str) -> ParkError:
    shown = repr(path[:200])
    parts = urlsplit(path.replace("\\", "/"))
    if parts.scheme or parts.netloc:
        return ParkError(
            ParkReason.FOREIGN_HOST,
            f"The message names another address than our Odoo's: {shown}. It was not fetched.",
        )
    return ParkError(
        ParkReason.BAD_PATH,
        f"The message names {shown}, which is no document of Odoo's. It was not fetched.",
    )


def _expect_content(doing: str, response: httpx.Response) -> None:
    """Raise what an answer means that does not bring the document."""
    status = response.status_code
    if status == 200:
        return
    response.read()
    if status == 404:
        raise ParkError(
            ParkReason.GONE_IN_ODOO,
            f"{doing}: HTTP 404{_said(response)}. The document or this revision of it was deleted "
            "in Odoo.",
        )
    # A refused key or a redirect is a fault of the installation, not of this document.
    advice = ADVICE.get(status, "Is Odoo up, and is its address in the connection right?")
    reason = WaitReason.ODOO_SIGN_IN if status in {401, 403} else WaitReason.ODOO_AWAY
    raise AwayError(
        reason, f"{doing}: HTTP {status}{_said(response)}. Trying again may help. {advice}"
    )


def _save(
    doing: str, response: httpx.Response, sink: Path, max_bytes: int, give_up_at: float
) -> None:
    size_bytes = 0
    with sink.open("wb") as file:
        for chunk in response.iter_raw(65536):
            size_bytes += len(chunk)
            if size_bytes > max_bytes:
                raise ParkError(
                    ParkReason.TOO_LARGE, f"{doing}: it has more than {max_bytes} bytes."
                )
            if time.monotonic() > give_up_at:
                raise TransientError(
                    f"{doing}: not finished in time, after {size_bytes} bytes. Trying again may "
                    "help."
                )
            file.write(chunk)


def reading[**Arguments, Answer](
    call: Callable[Arguments, Answer], /, *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Answer:
    """Return what ``call`` returns, trying up to four times within half a minute.

    Only for calls that change nothing. Half a minute is what a restart of Odoo takes; whoever
    outlasts that is better served by being told.
    """
    for attempt in stamina.retry_context(on=TransientError, attempts=4, timeout=30, wait_max=10):
        with attempt:
            return call(*args, **kwargs)
    raise AssertionError("the last attempt raises")


def _conjunction(domain: list[Any]) -> list[Any]:
    """Return ``domain`` as one term of Odoo's prefix notation.

    >>> _conjunction([["a", "=", 1], ["b", "=", 2]])
    ['&', ['a', '=', 1], ['b', '=', 2]]
    """
    if not domain:
        return [["id", "!=", False]]
    if any(isinstance(term, str) for term in domain):
        return domain  # already in prefix notation
    return ["&"] * (len(domain) - 1) + domain


def http_client(url: str, *, database: str, api_key: str, timeout_s: float) -> httpx.Client:
    """Return an HTTP client that is one user of one database of the Odoo at ``url``."""
    return httpx.Client(
        base_url=url,
        headers={"Authorization": f"bearer {api_key}", "X-Odoo-Database": database},
        timeout=timeout_s,
        # Odoo does not keep connections open, and one that it closed under us would be an error.
        limits=httpx.Limits(max_keepalive_connections=0),
        trust_env=False,  # loopback or the clinic's own network: never by a proxy
    )


def out_of_reach(doing: str, error: httpx.TransportError) -> TransientError:
    """Return the error for an Odoo that gave no answer."""
    what = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        what = f"no answer in time ({type(error).__name__})"
    return TransientError(f"{doing}: {what}. Trying again may help; is Odoo up?")


def read_answer(doing: str, response: httpx.Response) -> Any:
    """Return the JSON that ``response`` holds, or raise what its failure means.

    Raises:
        TransientError: See :meth:`OdooClient.call`.
        PermanentError: See :meth:`OdooClient.call`.
    """
    status = response.status_code
    if status >= 500 or status in RETRYABLE_4XX:
        raise TransientError(f"{doing}: HTTP {status}{_said(response)}. Trying again may help.")
    if not response.is_success:
        advice = ADVICE.get(status, "Check the address of the Odoo connection.")
        meaning = OdooRefusedError if status == 422 else PermanentError
        raise meaning(
            f"{doing}: HTTP {status}{_said(response)}. Trying again cannot help. {advice}"
        )
    kind = response.headers.get("Content-Type", "nothing").split(";")[0]
    try:
        return parse_json(response.content)
    except ValueError as error:
        # An HTML page with 200 is a proxy's or a database selector's; a cut one a dying worker's.
        raise TransientError(
            f"{doing}: HTTP {status} with {len(response.content)} bytes of {kind} that are not "
            "JSON. Trying again may help; if it goes on, check the address and the database's name."
        ) from error


def parse_json(text: bytes | str) -> Any:
    """Parse JSON, keeping decimal fractions exactly.

    >>> parse_json('[0.1, 1e-9, 3]')
    [Decimal('0.1'), Decimal('1E-9'), 3]
    """
    return json.loads(text, parse_float=Decimal)


def _said(response: httpx.Response) -> str:
    """Return the first line of the server's own message, never its traceback."""
    try:
        body = response.json()
    except ValueError:
        return ""
    message = body.get("message") or body.get("error") if isinstance(body, dict) else None
    if not isinstance(message, str) or not message.strip():
        return ""
    return f" ({message.strip().splitlines()[0][:200]})"
