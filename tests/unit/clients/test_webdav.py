"""What a WebDAV answer means, and where a document goes: without a server."""

import doctest
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from clinic.clients import webdav_protocol
from clinic.clients.webdav import WebDavStore
from clinic.clients.webdav_protocol import (
    UNFIT,
    checked,
    encoded,
    fit,
    parse_multistatus,
    refusal,
    retry_after_s,
    segments,
)
from clinic.documents.reasons import ParkReason
from clinic.documents.store import Upload
from clinic.errors import ParkError, PermanentError, TransientError
from hypothesis import given
from hypothesis import strategies as st

NEXTCLOUD = "https://cloud.test/remote.php/dav/files/clinica"
names = st.text(max_size=120) | st.text(alphabet="abñ é%2ef.&+=@-_", min_size=1, max_size=9)


def store(url: str = NEXTCLOUD, root: str = "Clinica", **options: object) -> WebDavStore:
    http = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(500)))
    return WebDavStore(http, url, root, **options)  # type: ignore[arg-type]


@given(st.lists(names, max_size=5))
def test_every_address_stays_below_where_it_began(path: list[str]) -> None:
    """Whatever the names are: either refused, or each becomes exactly one segment."""
    base = f"{NEXTCLOUD}/Clinica/"
    try:
        address = base + encoded(tuple(path))
    except ParkError:
        return
    url = httpx.URL(address)
    sent = url.raw_path.decode()
    assert url.host == "cloud.test"
    assert urlsplit(address)._replace(path="").geturl() == "https://cloud.test"
    arrived = [unquote(part) for part in sent.split("/")]
    expected = ["", "remote.php", "dav", "files", "clinica", "Clinica", *path]
    assert arrived == (expected if path else [*expected, ""])
    assert not {"..", "."} & set(arrived)


@given(names)
def test_a_fit_name_is_kept_or_refused_but_never_led_astray(name: str) -> None:
    made = fit(name)
    assert len(made) == len(name)
    assert not set(made) & set(UNFIT)
    assert fit(made) == made


@given(st.text(alphabet="abcñ é/._-", max_size=60))
def test_a_folder_is_read_alike_however_its_slashes_stand(path: str) -> None:
    assert segments(f"//{path}//") == segments(path)
    assert "/".join(segments(path)) == "/".join(part for part in path.split("/") if part)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "a\\b", "a\0", "a\nb", " a", "a ", "a.", "\u202egpj.exe", "é" * 126]
    + [f"a{character}" for character in UNFIT],
)
def test_a_name_that_no_server_keeps_is_refused(name: str) -> None:
    with pytest.raises(ParkError, match="cannot be stored") as caught:
        checked((name,))
    assert caught.value.reason == ParkReason.STORE_REFUSED


@pytest.mark.parametrize("name", ["é" * 125, "Año 1 & 2", "...a", "%2e%2e", "a+b=c@d,e!.pdf"])
def test_other_names_are_kept(name: str) -> None:
    assert checked((name,)) == (name,)


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (301, TransientError, "to elsewhere. The login is not sent there"),
        (401, TransientError, "make a new app password"),
        (403, TransientError, "the right to write"),
        (404, TransientError, "folder is gone"),
        (405, TransientError, "check the address"),
        (408, TransientError, "Trying again may help"),
        (409, TransientError, "folder above is gone"),
        (412, TransientError, "it is compared"),
        (423, TransientError, "locked"),
        (429, TransientError, "fewer requests"),
        (500, TransientError, "Trying again may help"),
        (507, TransientError, "raise its quota or free space"),
        (599, TransientError, "HTTP 599. Trying"),
        (400, ParkError, "does not take this file"),
        (413, ParkError, "does not take this file"),
        (414, ParkError, "does not take this file"),
        (415, ParkError, "does not take this file"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, error: type[Exception], says: str) -> None:
    raised = refusal("Sending a.pdf", httpx.Response(status, text="<secret trace>"))
    assert type(raised) is error or isinstance(raised, error)
    assert str(raised).startswith(f"Sending a.pdf: HTTP {status}")
    assert says in str(raised)
    assert "secret" not in str(raised)


def test_the_wait_a_server_asks_for_is_understood_in_both_forms() -> None:
    assert retry_after_s("120") == 120
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    later = retry_after_s("Fri, 31 Dec 2100 23:59:59 GMT")
    assert later is not None
    assert later > 1e9
    for nonsense in (None, "", "soon", "-1", "1e9", "9" * 40):
        assert retry_after_s(nonsense) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Sign in</body></html>",
        b"<d:multistatus xmlns:d='DAV:'><d:response>",
        b"<!DOCTYPE d:multistatus SYSTEM 'file:///etc/passwd'><d:multistatus xmlns:d='DAV:'/>",
        b"<!DOCTYPE m [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>"
        b"<d:multistatus xmlns:d='DAV:'><d:response><d:href>&a;</d:href></d:response>"
        b"</d:multistatus>",
        b"<!DOCTYPE m [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>"
        b"<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'><!ENTITY d '&c;&c;&c;&c;&c;&c;&c;&c;'>]>"
        b"<d:multistatus xmlns:d='DAV:'>&d;</d:multistatus>",
        b"<d:multistatus xmlns:d='DAV:'><d:response><d:propstat><d:prop><d:getcontentlength>"
        b"many</d:getcontentlength></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat>"
        b"</d:response></d:multistatus>",
    ],
    ids=["empty", "html", "cut", "outside", "file entity", "bomb", "no number"],
)
def test_what_is_not_webdav_is_refused_and_loads_nothing(body: bytes) -> None:
    with pytest.raises(TransientError, match="Check that the address") as caught:
        parse_multistatus("Looking", body)
    assert "root:" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("cloud.test", "no address of a WebDAV folder"),
        ("ftp://cloud.test/", "no address of a WebDAV folder"),
        ("https:///x", "no address of a WebDAV folder"),
        ("https://cloud.test/?a=b", "no address of a WebDAV folder"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, says: str) -> None:
    with pytest.raises(PermanentError, match=says):
        store(url)


def test_nextcloud_is_known_by_its_address_unless_the_connection_says() -> None:
    assert store()._nextcloud == (
        "https://cloud.test",
        "https://cloud.test/remote.php/dav/uploads/clinica",
    )
    assert store("https://cloud.test/sub/remote.php/dav/files/a%20b/")._nextcloud == (
        "https://cloud.test/sub",
        "https://cloud.test/sub/remote.php/dav/uploads/a%20b",
    )
    assert store("https://dav.test/files")._nextcloud is None
    assert store(is_nextcloud=False)._nextcloud is None
    for url in ("https://cloud.test", "https://cloud.test/remote.php/webdav", NEXTCLOUD + "/sub"):
        with pytest.raises(PermanentError, match=r"ends with /remote\.php/dav/files/USER"):
            store(url, is_nextcloud=True)


@pytest.mark.parametrize("dialect", [None, True, False])
@pytest.mark.parametrize(
    "url",
    [
        "https://ana:s3cret@cloud.test/remote.php/dav/files/clinica",
        "https://s3cret@cloud.test/x",
        "https://:s3cret@cloud.test/x",
    ],
)
def test_a_login_in_the_address_is_refused_and_not_repeated(url: str, dialect: bool | None) -> None:
    with pytest.raises(PermanentError, match="put them into the connection's own fields") as caught:
        store(url, is_nextcloud=dialect)
    assert "s3cret" not in str(caught.value)


def test_no_redirect_is_followed_and_no_cookie_kept() -> None:
    made = WebDavStore.connect(NEXTCLOUD, "", login="clinica", password="pass")
    http = made._dav._http
    assert not http.follow_redirects
    answer = httpx.Response(
        200, headers={"Set-Cookie": "a=b"}, request=httpx.Request("GET", "https://cloud.test")
    )
    http.cookies.extract_cookies(answer)
    assert len(http.cookies.jar) == 0
    made.close()


def test_doctests_hold() -> None:
    result = doctest.testmod(webdav_protocol)
    assert result.attempted >= 5
    assert result.failed == 0


def test_what_is_larger_than_an_answer_may_be_is_not_read() -> None:
    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield bytes(100_000)

    endless = httpx.MockTransport(lambda _: httpx.Response(207, stream=Endless()))
    made = WebDavStore(httpx.Client(transport=endless), NEXTCLOUD, "")
    with pytest.raises(TransientError, match="more than it should"):
        made.check()


def test_paths_are_those_of_the_documents_month() -> None:
    upload = Upload(
        document_id="0f9d2a44-7c1b-4a55-9d0e-5b8f3f6c2e11",
        revision=3,
        document_type="medical_record",
        file_name="HC 12.pdf",
        content_type="application/pdf",
        path=Path("x"),
        size_bytes=1,
        sha256="",
        date=date(987, 1, 2),
        reserved_id=None,
    )
    assert encoded((*upload.folders, upload.stored_name)) == (
        "0987/01/medical_record/HC%2012_0f9d2a44_r3.pdf"
    )
    assert store().reserve() is None
