"""OdooRpc against a server that misbehaves in every way a real one has: which failures are what."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import stamina
from clinic.clients.odoo_rpc import NotAppliedError, OdooRpc
from clinic.errors import PermanentError, TransientError

type Answer = Callable[[BaseHTTPRequestHandler], None]


def result(value: Any) -> Answer:
    return body(json.dumps({"jsonrpc": "2.0", "id": 1, "result": value}).encode())


def refusal(name: str, message: str = "no") -> Answer:
    data = {"name": name, "message": message, "debug": "Traceback: s3cret inside"}
    return body(json.dumps({"error": {"message": "Odoo Server Error", "data": data}}).encode())


def body(content: bytes, status: int = 200, promised: int | None = None) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(promised or len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


class Odoo:
    """Logs anyone in, then answers calls with what the test has lined up, the last one for ever."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[Answer] = [result(True)]
        self.calls: list[list[Any]] = []

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers["Content-Length"])
        params = json.loads(handler.rfile.read(length))["params"]
        match handler.path, params.get("service"), params.get("method"):
            case "/web/webclient/version_info", _, _:
                result({"server_version": "19.0", "server_version_info": [19, 0]})(handler)
            case _, "common", "login":
                result(2 if params["args"][2] == "pass" else False)(handler)
            case _, "object", "execute":
                result({"lang": "en_US"})(handler)
            case _:
                self.calls.append(params["args"])
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                answer(handler)

    def client(self, **options: Any) -> OdooRpc:
        return OdooRpc(self.url, "odoo", "admin", "pass", **options)


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    """Five tries as in earnest, without the pauses between them."""
    stamina.set_testing(True, attempts=5)
    yield
    stamina.set_testing(False)


@pytest.fixture
def odoo() -> Iterator[Odoo]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server_side.handle(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server_side = Odoo(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server_side
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_call_names_its_model_method_and_arguments(odoo: Odoo) -> None:
    odoo.answers = [result([{"id": 7}])]
    assert odoo.client().call("res.partner", "search_read", [], ["name"], limit=1) == [{"id": 7}]
    assert odoo.calls == [
        ["odoo", 2, "pass", "res.partner", "search_read", [[], ["name"]], {"limit": 1}]
    ]


def test_a_wrong_password_says_what_to_check(odoo: Odoo) -> None:
    with pytest.raises(PermanentError, match="ODOO_LOGIN and ODOO_PASSWORD"):
        OdooRpc(odoo.url, "odoo", "admin", "wrong")


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        pytest.param(body(b"<html>maintenance"), TransientError, "no JSON", id="HTML"),
        pytest.param(body(b"[", promised=900), TransientError, "connection broke", id="truncated"),
        pytest.param(body(b"", 502), TransientError, "HTTP 502", id="502"),
        pytest.param(body(b"", 429), TransientError, "HTTP 429", id="429"),
        pytest.param(body(b"", 401), PermanentError, "HTTP 401", id="401"),
        pytest.param(body(b"", 404), PermanentError, "HTTP 404", id="404"),
        pytest.param(hang_up, TransientError, "connection broke", id="hangs up"),
        pytest.param(
            refusal("psycopg2.OperationalError"), TransientError, "lost its database", id="database"
        ),
        pytest.param(
            refusal("odoo.exceptions.ValidationError", "Lot exists\nmore"),
            PermanentError,
            "Lot exists. Trying again cannot help",
            id="refused",
        ),
    ],
)
def test_a_call_that_writes_is_made_once_and_its_failure_says_what_it_is(
    odoo: Odoo, answer: Answer, error: type[Exception], message: str
) -> None:
    client = odoo.client()
    odoo.answers = [answer]
    with pytest.raises(error, match=message) as raised:
        client.call("stock.lot", "create", {})
    assert len(odoo.calls) == 1
    assert not isinstance(raised.value, NotAppliedError)
    assert "s3cret" not in repr((raised.value, raised.value.__cause__))


def test_a_call_that_only_reads_is_made_again(odoo: Odoo) -> None:
    client = odoo.client()
    odoo.answers = [hang_up, body(b"", 503), body(b"<html>"), result([1, 2])]
    assert client.call("stock.lot", "search", []) == [1, 2]
    assert len(odoo.calls) == 4


def test_the_traceback_that_odoo_sends_is_left_behind(odoo: Odoo) -> None:
    client = odoo.client()
    odoo.answers = [refusal("odoo.exceptions.UserError", "not today")]
    with pytest.raises(PermanentError, match="not today") as raised:
        client.call("stock.lot", "create", {})
    assert raised.value.__cause__ is None, "the cause holds what Odoo's `debug` said"


def test_a_refusal_is_not_asked_twice(odoo: Odoo) -> None:
    client = odoo.client()
    odoo.answers = [refusal("odoo.exceptions.AccessError", "not yours")]
    with pytest.raises(PermanentError, match="not yours"):
        client.call("stock.lot", "search", [])
    assert len(odoo.calls) == 1


@pytest.mark.parametrize(
    "name", ["psycopg2.errors.SerializationFailure", "psycopg2.errors.DeadlockDetected"]
)
def test_what_was_rolled_back_is_written_again(odoo: Odoo, name: str) -> None:
    client = odoo.client()
    odoo.answers = [refusal(name), refusal(name), result(5)]
    assert client.call("stock.quant", "create", {}) == 5
    assert len(odoo.calls) == 3


def test_retries_end(odoo: Odoo) -> None:
    client = odoo.client()
    odoo.answers = [refusal("psycopg2.errors.SerializationFailure")]
    with pytest.raises(NotAppliedError, match="another change got in between"):
        client.call("stock.quant", "create", {})
    assert len(odoo.calls) == 5


def test_an_answer_that_does_not_come_ends_in_time(odoo: Odoo) -> None:
    released = threading.Event()

    def never(handler: BaseHTTPRequestHandler) -> None:
        released.wait(10)

    def half(handler: BaseHTTPRequestHandler) -> None:
        body(b'{"result":', promised=100)(handler)
        handler.wfile.flush()
        released.wait(10)

    client = odoo.client(timeout_s=0.2)
    try:
        # Before the headers, and, where odoorpc lets a bare TimeoutError through, after them.
        for answer in (never, half):
            odoo.answers = [answer]
            started = time.monotonic()
            with pytest.raises(TransientError, match="no answer in time"):
                client.call("stock.quant", "create", {})
            assert time.monotonic() - started < 5
    finally:
        released.set()


def test_an_odoo_that_is_not_there_changed_nothing() -> None:
    with socket.socket() as reserved:  # bound, not listening: nothing else can take the port
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        with pytest.raises(NotAppliedError, match="cannot be reached"):
            OdooRpc(f"http://127.0.0.1:{port}", "odoo", "admin", "pass")


def test_no_log_holds_the_password(odoo: Odoo, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    odoo.client().call("stock.lot", "search", [])
    assert "pass" not in caplog.text


@pytest.mark.parametrize("url", ["", "127.0.0.1:8069", "ftp://odoo.test", "http://odoo.test/web"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(PermanentError, match="Check ODOO_URL"):
        OdooRpc(url, "odoo", "admin", "pass")


@pytest.mark.parametrize("timeout_s", [0, -1])
def test_a_timeout_has_a_length(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s must be positive"):
        OdooRpc("http://odoo.test", "odoo", "admin", "pass", timeout_s=timeout_s)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(PermanentError, match="No ODOO_LOGIN, ODOO_PASSWORD in the environment"):
        OdooRpc.from_environment({"ODOO_URL": "http://odoo.test", "ODOO_DB": "odoo"})
