"""Downloading a document: from our Odoo only, in constant memory, and what each failure means."""

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from clinic.clients.odoo import OdooClient
from clinic.errors import ParkError, TransientError

PATH = "/clinic/documents/0b9d1c4e-8a55-4c0f-9b4e-0a6f7c1d2e3f/1/content"


def odoo_answering(handler: Callable[[httpx.Request], httpx.Response]) -> OdooClient:
    return OdooClient(
        httpx.Client(base_url="https://odoo.test", transport=httpx.MockTransport(handler))
    )


def never(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"asked for {request.url}")


def test_the_document_is_written_to_the_file(tmp_path: Path) -> None:
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, str(request.url), request.headers["Accept-Encoding"]))
        return httpx.Response(200, content=iter([b"%PDF-1.7 ", b"content"]))

    sink = tmp_path / "document.pdf"
    sink.write_bytes(b"what an attempt before left behind, and that was longer")
    odoo_answering(handler).download(PATH, sink, 100)
    assert sink.read_bytes() == b"%PDF-1.7 content"
    assert seen == [("GET", f"https://odoo.test{PATH}", "identity")]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (f"https://evil.test{PATH}", "foreign_host"),
        (f"//evil.test{PATH}", "foreign_host"),
        (f"\\\\evil.test{PATH}", "foreign_host"),
        ("file:///etc/passwd", "foreign_host"),
        ("/clinic/documents/../../web/session", "bad_path"),
        (PATH + "/../../../../web", "bad_path"),
        (PATH + "?download=1", "bad_path"),
        (PATH + "\n", "bad_path"),
        (PATH.replace("/1/", "/0/"), "bad_path"),
        ("/web/content/1", "bad_path"),
        ("", "bad_path"),
    ],
)
def test_nothing_but_a_document_is_asked_for(tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(ParkError) as parked:
        odoo_answering(never).download(path, tmp_path / "sink", 100)
    assert parked.value.reason == reason
    assert "not fetched" in str(parked.value)


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(302, headers={"Location": "https://evil.test/"})

    with pytest.raises(TransientError, match="HTTP 302"):
        odoo_answering(handler).download(PATH, tmp_path / "sink", 100)
    assert asked == ["odoo.test"]


def test_what_was_deleted_in_odoo_is_gone_for_good(tmp_path: Path) -> None:
    odoo = odoo_answering(lambda _: httpx.Response(404, json={"error": "no such document"}))
    with pytest.raises(ParkError, match=r"\(no such document\).*deleted in Odoo") as parked:
        odoo.download(PATH, tmp_path / "sink", 100)
    assert parked.value.reason == "gone_in_odoo"


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 502, 503])
def test_what_a_person_or_time_can_mend_is_tried_again(tmp_path: Path, status: int) -> None:
    with pytest.raises(TransientError, match=f"HTTP {status}"):
        odoo_answering(lambda _: httpx.Response(status)).download(PATH, tmp_path / "sink", 100)


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError("no route"), httpx.ReadTimeout(""), httpx.ReadError("reset")]
)
def test_a_broken_connection_is_tried_again(tmp_path: Path, failure: Exception) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise failure

    with pytest.raises(TransientError, match=r"Downloading .* Trying again may help"):
        odoo_answering(handler).download(PATH, tmp_path / "sink", 100)


def test_more_than_allowed_is_not_read(tmp_path: Path) -> None:
    given = []

    def chunks() -> Iterator[bytes]:
        for number in range(1000):
            given.append(number)
            yield bytes(65536)

    odoo = odoo_answering(lambda _: httpx.Response(200, content=chunks()))
    with pytest.raises(ParkError) as parked:
        odoo.download(PATH, tmp_path / "sink", 200_000)
    assert parked.value.reason == "too_large"
    assert len(given) < 10


def test_a_drip_does_not_last_for_ever(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        while True:
            yield bytes(65536)

    odoo = odoo_answering(lambda _: httpx.Response(200, content=chunks()))
    with pytest.raises(TransientError, match="not finished in time"):
        odoo.download(PATH, tmp_path / "sink", 10**12, longest_s=0)


def test_a_full_disk_is_tried_again(tmp_path: Path) -> None:
    odoo = odoo_answering(lambda _: httpx.Response(200, content=b"%PDF"))
    with pytest.raises(TransientError, match="could not be written"):
        odoo.download(PATH, tmp_path / "no such folder" / "sink", 100)


def test_two_hundred_megabytes_cost_no_memory(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(3200):
            yield bytes(65536)

    odoo = odoo_answering(lambda _: httpx.Response(200, content=chunks()))
    tracemalloc.start()
    try:
        odoo.download(PATH, tmp_path / "sink", 10**9)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "sink").stat().st_size == 3200 * 65536
    assert peak_bytes < 5_000_000
