"""OdooFeed: pages, and a stream that may break, fall silent, or hold garbage."""

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from clinic.clients import odoo_feed
from clinic.clients.odoo import OdooClient
from clinic.clients.odoo_feed import OdooFeed
from clinic.errors import PermanentError, TransientError

PAGE = {"cursor": "c1", "changes": [], "more": False, "reset": False, "reason": None}


def feed_answering(handler: Callable[[httpx.Request], httpx.Response]) -> OdooFeed:
    http = httpx.Client(base_url="https://odoo.test", transport=httpx.MockTransport(handler))
    return OdooFeed(OdooClient(http), http)


def soon() -> float:
    return time.monotonic() + 5


def test_a_page_is_asked_for_by_cursor_and_limit() -> None:
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path, json.loads(request.content)))
        return httpx.Response(200, json=PAGE | {"changes": [{"id": 1}], "more": True})

    page = feed_answering(handler).page("c0", 50)
    assert (page.cursor, page.changes, page.more, page.reset) == ("c1", [{"id": 1}], True, False)
    assert asked == [("/json/2/clinic.change/feed", {"cursor": "c0", "limit": 50})]


def test_a_page_can_be_asked_for_with_less_patience() -> None:
    patience = []

    def handler(request: httpx.Request) -> httpx.Response:
        patience.append(request.extensions["timeout"]["read"])
        return httpx.Response(200, json=PAGE)

    feed = feed_answering(handler)
    feed.page("c0", 50, timeout_s=2)
    feed.page("c0", 50)
    assert patience == [2, 5]  # 5 s is what the client was made with


@pytest.mark.parametrize("answer", [[], {}, {"cursor": 1, "changes": []}, {"cursor": "c"}, "c"])
def test_an_answer_that_is_no_page_is_worth_another_try(answer: Any) -> None:
    feed = feed_answering(lambda request: httpx.Response(200, json=answer))
    with pytest.raises(TransientError, match="an answer that is no page"):
        feed.page("c0", 50)


def test_a_stream_yields_a_page_a_line_however_the_bytes_are_cut() -> None:
    # U+2028 and U+0085 end a line for Python's splitlines, not for NDJSON.
    pages = [
        PAGE | {"cursor": f"c{n}", "changes": [{"name": "a\u2028b\x85c 💊"}]} for n in range(5)
    ]
    text = b"\n" + b"".join(json.dumps(p, ensure_ascii=False).encode() + b"\n" for p in pages)

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(text), 7):
            yield text[start : start + 7]

    feed = feed_answering(lambda request: httpx.Response(200, content=pieces()))
    got = list(feed.stream("c0", 100, soon()))
    assert [page.cursor for page in got] == [f"c{n}" for n in range(5)]
    assert got[0].changes == pages[0]["changes"]


def test_a_line_cut_short_by_the_end_is_not_taken() -> None:
    content = json.dumps(PAGE).encode() + b'\n{"cursor": "c2", "chan'
    feed = feed_answering(lambda request: httpx.Response(200, content=iter([content])))
    assert [page.cursor for page in feed.stream("c0", 100, soon())] == ["c1"]


@pytest.mark.parametrize("line", [b"garbage", b'{"cursor": "c2"}', b'"c2"', b"\xff\xfe"])
def test_garbage_in_a_stream_keeps_what_came_before(line: bytes) -> None:
    content = json.dumps(PAGE).encode() + b"\n" + line + b"\n"
    feed = feed_answering(lambda request: httpx.Response(200, content=iter([content])))
    stream = feed.stream("c0", 100, soon())
    assert next(stream).cursor == "c1"
    with pytest.raises(TransientError):
        next(stream)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, PermanentError, "Check the API key"),
        (421, PermanentError, "gevent_port"),
        (400, PermanentError, "cursor: not one of ours"),
        (503, TransientError, "HTTP 503"),
    ],
)
def test_a_refused_stream_says_why(status: int, error: type[Exception], words: str) -> None:
    body = {"error": "cursor: not one of ours"}
    feed = feed_answering(lambda request: httpx.Response(status, json=body))
    with pytest.raises(error, match=words):
        list(feed.stream("c0", 100, soon()))


@contextmanager
def a_server(send: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            send(self)

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_stream_ends_at_its_time_even_while_it_waits_for_a_heartbeat() -> None:
    done = threading.Event()

    def send(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(json.dumps(PAGE).encode() + b"\n")
        handler.wfile.flush()
        done.wait(20)

    with a_server(send) as url:
        feed = OdooFeed.connect(url, url, database="d", api_key="k")
        started = time.monotonic()
        assert len(list(feed.stream("c0", 100, started + 0.5))) == 1
        assert 0.4 < time.monotonic() - started < 15
        done.set()
        feed.close()


def test_a_silent_stream_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(odoo_feed, "SILENCE_S", 0.3)
    done = threading.Event()
    with a_server(lambda handler: done.wait(20)) as url:
        feed = OdooFeed.connect(url, url, database="d", api_key="k")
        with pytest.raises(TransientError, match="no answer in time"):
            list(feed.stream("c0", 100, soon()))
        done.set()
        feed.close()
