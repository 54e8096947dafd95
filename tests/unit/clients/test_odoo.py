"""OdooClient: what it sends, and which failures deserve another try."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal

import httpx
import pytest
import stamina
from clinic.clients.odoo import OdooClient
from clinic.errors import PermanentError, TransientError

Handler = Callable[[httpx.Request], httpx.Response]


def odoo_answering(handler: Handler) -> OdooClient:
    return OdooClient(
        httpx.Client(base_url="https://odoo.test", transport=httpx.MockTransport(handler))
    )


@pytest.fixture
def _no_waiting() -> Iterator[None]:
    stamina.set_testing(True, attempts=4)
    yield
    stamina.set_testing(False)


def test_call_posts_named_arguments_and_returns_the_result() -> None:
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.path, json.loads(request.content)))
        return httpx.Response(200, json=[{"id": 7}])

    assert odoo_answering(handler).call("stock.quant", "search_read", limit=1) == [{"id": 7}]
    assert seen == [("/json/2/stock.quant/search_read", {"limit": 1})]


def test_connect_sends_the_key_and_the_database() -> None:
    odoo = OdooClient.connect("https://odoo.test", database="clinic", api_key="k3y", timeout_s=5)
    assert odoo._http.headers["Authorization"] == "bearer k3y"
    assert odoo._http.headers["X-Odoo-Database"] == "clinic"
    assert odoo._http.timeout.read == 5


def test_fractions_keep_their_digits() -> None:
    odoo = odoo_answering(
        lambda request: httpx.Response(200, text="[0.1, 1e-9, 1000000000.000001]")
    )
    assert odoo.call("stock.quant", "search_read") == [
        Decimal("0.1"),
        Decimal("1e-9"),
        Decimal("1000000000.000001"),
    ]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, TransientError),
        (502, TransientError),
        (503, TransientError),
        (429, TransientError),
        (408, TransientError),
        (302, PermanentError),
        (400, PermanentError),
        (401, PermanentError),
        (403, PermanentError),
        (404, PermanentError),
        (422, PermanentError),
    ],
)
def test_a_refusal_says_whether_to_try_again(status: int, error: type[Exception]) -> None:
    odoo = odoo_answering(lambda request: httpx.Response(status))
    with pytest.raises(error, match=rf"Odoo stock.quant.search_read: HTTP {status}.* Trying again"):
        odoo.call("stock.quant", "search_read")


def test_a_refused_key_says_what_to_check() -> None:
    odoo = odoo_answering(lambda request: httpx.Response(401))
    with pytest.raises(PermanentError, match="Check the API key"):
        odoo.call("stock.quant", "search_read")


def test_what_odoo_says_is_passed_on_but_never_its_traceback() -> None:
    body = {"message": "You may not\nread this", "debug": "Traceback: password='s3cret'"}
    odoo = odoo_answering(lambda request: httpx.Response(403, json=body))
    with pytest.raises(PermanentError) as refusal:
        odoo.call("stock.quant", "search_read")
    assert "(You may not)" in str(refusal.value)
    assert "s3cret" not in str(refusal.value)
    assert "Traceback" not in str(refusal.value)


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("no route to host"),
        httpx.ReadTimeout("timed out"),
        httpx.RemoteProtocolError("peer closed connection"),
    ],
)
def test_an_odoo_out_of_reach_or_slow_is_worth_another_try(failure: Exception) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise failure

    with pytest.raises(TransientError, match=r"Odoo stock\.quant\.read: .*Trying again may help"):
        odoo_answering(handler).call("stock.quant", "read")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(b"<!doctype html><title>Odoo</title>", "text/html", id="HTML"),
        pytest.param(b'[{"id": 1}, {"id"', "application/json", id="truncated"),
        pytest.param(b"", "application/json", id="nothing"),
        pytest.param(b'"\xff"', "application/json", id="not UTF-8"),
    ],
)
def test_an_answer_that_is_no_json_says_what_it_was(content: bytes, kind: str) -> None:
    odoo = odoo_answering(
        lambda request: httpx.Response(200, content=content, headers={"Content-Type": kind})
    )
    with pytest.raises(TransientError, match=f"{len(content)} bytes of {kind} that are not JSON"):
        odoo.call("stock.quant", "search_read")


def test_search_read_pages_by_id_and_misses_nothing() -> None:
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        arguments = json.loads(request.content)
        asked.append(arguments)
        after = arguments["domain"][1][2]
        return httpx.Response(200, json=[{"id": n} for n in range(after + 1, min(after + 3, 6))])

    domain = [["state", "=", "done"], ["id", "!=", 9]]
    records = odoo_answering(handler).search_read("stock.move.line", domain, ["id"], page_size=2)
    assert [record["id"] for record in records] == [1, 2, 3, 4, 5]
    assert asked[0]["domain"] == ["&", ["id", ">", 0], "&", *domain]
    assert {each["load"] for each in asked} == {None}
    assert all(each["context"] == {"active_test": False} for each in asked)


@pytest.mark.usefixtures("_no_waiting")
def test_reading_is_tried_four_times_and_no_more() -> None:
    calls = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return httpx.Response(503)

    with pytest.raises(TransientError, match="HTTP 503"):
        list(odoo_answering(handler).search_read("stock.quant", [], ["id"]))
    assert len(calls) == 4


@pytest.mark.usefixtures("_no_waiting")
def test_a_refusal_is_not_tried_again() -> None:
    calls = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return httpx.Response(403)

    with pytest.raises(PermanentError):
        list(odoo_answering(handler).search_read("stock.quant", [], ["id"]))
    assert len(calls) == 1
