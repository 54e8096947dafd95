"""The change feed of Odoo (addon ``clinic_change_feed``): pages, full state, and the stream.

The stream is one HTTP answer that stays open: a line of JSON (a page) at each commit in Odoo, and
an empty page every 20 s, so that silence longer than that means the stream is dead.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
from pydantic import BaseModel, RootModel, ValidationError

from clinic.clients.odoo import (
    OdooClient,
    http_client,
    out_of_reach,
    parse_json,
    read_answer,
    reading,
)
from clinic.errors import TransientError

HEARTBEAT_S = 20
# Longer than the heartbeat by what a busy server may be late.
SILENCE_S = HEARTBEAT_S + 10
MAX_LINE_BYTES = 256 * 1024 * 1024


class Page(BaseModel):
    """The outline of a page; what each change says is for its reader to judge."""

    cursor: str
    changes: list[Any]
    more: bool = False
    reset: bool = False
    reason: str | None = None


class State(BaseModel):
    """The outline of a page of full state."""

    changes: list[Any]
    after: str | None = None


class _Entities(RootModel[list[str]]):
    """The names of the feed's entities."""


class OdooFeed:
    """Reads the change feed.

    Args:
        odoo: For single pages and full state, on Odoo's HTTP port.
        stream_http: For the stream, on Odoo's evented port.
    """

    def __init__(self, odoo: OdooClient, stream_http: httpx.Client) -> None:
        self._odoo = odoo
        self._stream_http = stream_http

    @classmethod
    def connect(
        cls, url: str, evented_url: str, *, database: str, api_key: str, timeout_s: float = 30
    ) -> OdooFeed:
        """Return a feed reader, as the user of ``api_key``."""
        odoo = OdooClient.connect(url, database=database, api_key=api_key, timeout_s=timeout_s)
        http = http_client(evented_url, database=database, api_key=api_key, timeout_s=timeout_s)
        return cls(odoo, http)

    def close(self) -> None:
        """Close the connections."""
        self._odoo.close()
        self._stream_http.close()

    def page(self, cursor: str | None, limit: int, timeout_s: float | None = None) -> Page:
        """Return the page that follows ``cursor``; None answers a reset page with a new cursor.

        Args:
            cursor: Of the page before.
            limit: At most so many changes.
            timeout_s: How long Odoo may be silent; None for what the reader was made with.

        Raises:
            TransientError: Odoo could not answer, or answered something that is no page.
            PermanentError: Odoo refused: key, access, or a cursor it cannot read.
        """
        doing = "Reading a page of Odoo's change feed"
        odoo = self._odoo if timeout_s is None else self._odoo.within(timeout_s)
        answer = odoo.call("clinic.change", "feed", cursor=cursor, limit=limit)
        return _checked(Page, doing, answer)

    def entities(self) -> list[str]:
        """Return what the feed has: it depends on the addons that Odoo has.

        Raises:
            TransientError: Odoo could not answer, or answered something else.
            PermanentError: Odoo refused: key or access.
        """
        answer = reading(self._odoo.call, "clinic.change", "entities")
        return _checked(_Entities, "Reading what Odoo's change feed has", answer).root

    def state(self, entity: str, after: str | None, limit: int) -> State:
        """Return the page after ``after`` of the full state of ``entity``.

        Raises:
            TransientError: Odoo could not answer, or answered something that is no page.
            PermanentError: Odoo refused: key, access, or an entity it does not know.
        """
        doing = f"Reading the full state of {entity} in Odoo"
        answer = reading(
            self._odoo.call, "clinic.change", "state", entity=entity, after=after, limit=limit
        )
        return _checked(State, doing, answer)

    def stream(self, cursor: str, limit: int, until: float) -> Iterator[Page]:
        """Yield pages as Odoo commits, until :func:`time.monotonic` is ``until``.

        Returns early when Odoo ends the stream, as it does every 10 minutes.

        Raises:
            TransientError: The stream broke, fell silent, or held a line that is no page. What was
                yielded before is good; go on from its cursor.
            PermanentError: Odoo refused the stream.
        """
        doing = "Streaming Odoo's change feed"
        if until <= time.monotonic():
            return
        request = self._stream_http.build_request(
            "GET",
            "/clinic/changes/stream",
            params={"cursor": cursor, "limit": limit},
            headers={"Accept-Encoding": "identity"},  # lines are split as they come in
            timeout=httpx.Timeout(10, read=SILENCE_S),
        )
        ended = threading.Event()
        try:
            response = self._stream_http.send(request, stream=True)
            try:
                if response.status_code != 200:
                    response.read()
                    read_answer(doing, response)
                    raise TransientError(f"{doing}: HTTP {response.status_code}, expected 200.")
                with _HangUpAt(response, until, ended):
                    for line in _lines(doing, response):
                        yield _checked(Page, doing, _parsed(doing, line))
            finally:
                response.close()
        except httpx.TransportError as error:
            if ended.is_set():
                return  # we hung up ourselves
            raise out_of_reach(doing, error) from error


class _HangUpAt:
    """Ends a blocking read of ``response`` at a time, by shutting its socket from a timer.

    A read cannot be given another timeout once it waits, and a heartbeat may be 20 s away.
    """

    def __init__(self, response: httpx.Response, until: float, ended: threading.Event) -> None:
        network = response.extensions.get("network_stream")
        self._socket: socket.socket | None = network.get_extra_info("socket") if network else None
        self._ended = ended
        self._timer = threading.Timer(max(0.0, until - time.monotonic()), self._hang_up)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()

    def _hang_up(self) -> None:
        self._ended.set()
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # the other side was faster


def _lines(doing: str, response: httpx.Response) -> Iterator[bytes]:
    r"""Yield the lines of ``response`` that are not empty.

    Split at \n alone: JSON may hold U+2028 and other characters that Python counts as line ends.
    """
    buffer = bytearray()
    for chunk in response.iter_raw():
        start = len(buffer)
        buffer += chunk
        if b"\n" not in chunk:
            if len(buffer) > MAX_LINE_BYTES:
                raise TransientError(
                    f"{doing}: a line longer than {MAX_LINE_BYTES} bytes. Trying again may help."
                )
            continue
        last = buffer.rindex(b"\n", start)
        whole, buffer = bytes(buffer[:last]), buffer[last + 1 :]
        for line in whole.split(b"\n"):
            if line.strip():
                yield line


def _parsed(doing: str, line: bytes) -> Any:
    try:
        return parse_json(line)
    except ValueError as error:
        raise TransientError(
            f"{doing}: a line of {len(line)} bytes that is not JSON. Connecting again may help."
        ) from error


def _checked[Outline: BaseModel](kind: type[Outline], doing: str, answer: Any) -> Outline:
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) or "it" for problem in error.errors())
        raise TransientError(
            f"{doing}: an answer that is no page (wrong: {fields}). Trying again may help; if it "
            "goes on, the addon clinic_change_feed and this code are of different versions."
        ) from error
