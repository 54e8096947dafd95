"""WebDavStore with a real WebDAV server (wsgidav under cheroot), by HTTP."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import stamina
from clinic.clients.webdav import WebDavStore
from clinic.documents.reasons import ParkReason
from clinic.errors import ParkError, PermanentError, TransientError
from support.processes import free_port, wait_until
from support.webdav import (
    DOCUMENT,
    INVOICE,
    LOGIN,
    PASSWORD,
    WebDav,
    put_in_a_process,
    upload_of,
    webdav_server,
)


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    stamina.set_testing(True, attempts=4, cap=True)
    yield
    stamina.set_testing(False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebDav]:
    with webdav_server(tmp_path) as running:
        yield running


def store_at(url: str, root: str = "Clinica", password: str = PASSWORD) -> WebDavStore:
    return WebDavStore.connect(url, root, login=LOGIN, password=password, timeout_s=10)


@pytest.fixture
def store(server: WebDav) -> Iterator[WebDavStore]:
    made = store_at(server.url)
    yield made
    made.close()


def files_of(server: WebDav) -> list[str]:
    return sorted(
        str(path.relative_to(server.files)) for path in server.files.rglob("*") if path.is_file()
    )


def test_a_document_lies_under_its_year_month_and_type(
    server: WebDav, store: WebDavStore, tmp_path: Path
) -> None:
    upload = upload_of(tmp_path)
    stored = store.put(upload)
    assert stored.created
    assert stored.store == "webdav"
    assert stored.file_id == f"Clinica/{INVOICE}"
    assert stored.url == f"{server.url}/Clinica/{INVOICE}"
    assert (stored.size_bytes, stored.sha256) == (upload.size_bytes, upload.sha256)
    assert files_of(server) == [f"Clinica/{INVOICE}"]
    assert (server.files / "Clinica" / INVOICE).read_bytes() == upload.path.read_bytes()


def test_a_repeat_finds_its_own_bytes(server: WebDav, store: WebDavStore, tmp_path: Path) -> None:
    store.put(upload_of(tmp_path))
    again = store_at(server.url)
    assert not again.put(upload_of(tmp_path)).created
    again.close()
    assert files_of(server) == [f"Clinica/{INVOICE}"]


@pytest.mark.parametrize("other", [b"%PDF-1.7 two", b"%PDF-1.7 longer than one", b""])
def test_other_bytes_are_never_overwritten(
    server: WebDav, store: WebDavStore, tmp_path: Path, other: bytes
) -> None:
    place = server.files / "Clinica" / INVOICE
    place.parent.mkdir(parents=True)
    place.write_bytes(other)
    with pytest.raises(ParkError, match="is not overwritten: look at it") as caught:
        store.put(upload_of(tmp_path))
    assert caught.value.reason == ParkReason.STORE_REFUSED
    assert place.read_bytes() == other
    assert files_of(server) == [f"Clinica/{INVOICE}"]


def test_a_folder_in_the_documents_place_is_left_alone(
    server: WebDav, store: WebDavStore, tmp_path: Path
) -> None:
    (server.files / "Clinica" / INVOICE).mkdir(parents=True)
    with pytest.raises(ParkError, match="is not overwritten"):
        store.put(upload_of(tmp_path))


def test_a_revision_lies_beside_the_one_before(
    server: WebDav, store: WebDavStore, tmp_path: Path
) -> None:
    store.put(upload_of(tmp_path))
    store.put(upload_of(tmp_path, b"%PDF-1.7 amended", revision=2))
    assert files_of(server) == sorted(
        [f"Clinica/{INVOICE}", f"Clinica/{INVOICE.replace('.pdf', '_r2.pdf')}"]
    )


@pytest.mark.parametrize(
    "file_name",
    ["Factura nº 7 año.pdf", "100% a=b&c.pdf", "a+b,c=d@e.pdf", "é́ 日本.pdf", "%2e%2e%2f.pdf"],
)
def test_names_keep_their_letters(server: WebDav, tmp_path: Path, file_name: str) -> None:
    store = store_at(server.url, "Clínica Veterinaria/Año 1 & 2")
    stored = store.put(upload_of(tmp_path, file_name=file_name))
    expected = f"{file_name.removesuffix('.pdf')}_{DOCUMENT[:8]}.pdf"
    assert files_of(server) == [f"Clínica Veterinaria/Año 1 & 2/2026/03/invoice/{expected}"]
    assert stored.url.isascii()
    assert " " not in stored.url
    assert not store.put(upload_of(tmp_path, file_name=file_name)).created
    store.close()


def test_what_some_servers_cannot_have_in_a_name_becomes_a_dash(
    server: WebDav, store: WebDavStore, tmp_path: Path
) -> None:
    """Wsgidav for one takes ``;`` and ``?`` in a MOVE's Destination for the end of the path."""
    file_name = 'a;b#c?d*e:f"g<h>i|j.pdf'
    assert store.put(upload_of(tmp_path, file_name=file_name)).created
    assert not store.put(upload_of(tmp_path, file_name=file_name)).created
    expected = f"Clinica/2026/03/invoice/a-b-c-d-e-f-g-h-i-j_{DOCUMENT[:8]}.pdf"
    assert files_of(server) == [expected]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("document_type", ".."),
        ("document_type", "../../etc"),
        ("document_type", "a\\b"),
        ("document_type", ""),
        ("document_id", "../../../../x"),
        ("file_name", "a\x00b.pdf"),
        ("file_name", "a\r\nHost: other\r\n.pdf"),
    ],
)
def test_no_name_leads_out_of_the_root(
    server: WebDav, store: WebDavStore, tmp_path: Path, field: str, value: str
) -> None:
    with pytest.raises(ParkError, match="cannot be stored"):
        store.put(upload_of(tmp_path, **{field: value}))
    assert files_of(server) == []


def test_a_path_in_the_file_name_counts_for_nothing(
    server: WebDav, store: WebDavStore, tmp_path: Path
) -> None:
    store.put(upload_of(tmp_path, file_name="../../../x.pdf"))
    assert files_of(server) == [f"Clinica/2026/03/invoice/x_{DOCUMENT[:8]}.pdf"]


def test_a_root_that_leads_out_is_refused(server: WebDav) -> None:
    with pytest.raises(PermanentError, match="cannot be stored"):
        store_at(server.url, "Clinica/../..")


def test_a_folder_deleted_meanwhile_is_made_again(
    server: WebDav, store: WebDavStore, tmp_path: Path
) -> None:
    store.put(upload_of(tmp_path))
    (server.files / "Clinica" / INVOICE).unlink()
    for folder in ("2026/03/invoice", "2026/03", "2026", ".incoming", ""):
        (server.files / "Clinica" / folder).rmdir()
    assert store.put(upload_of(tmp_path)).created
    assert files_of(server) == [f"Clinica/{INVOICE}"]


def test_writers_racing_for_one_document_store_it_once(server: WebDav, tmp_path: Path) -> None:
    upload = upload_of(tmp_path, b"%PDF-1.7 " + bytes(300_000))
    ready = threading.Barrier(4)

    def write() -> bool | None:
        store = store_at(server.url)
        ready.wait(10)
        try:
            return store.put(upload).created
        except TransientError:  # outrun four times: the queue tries again
            return None
        finally:
            store.close()

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write) for _ in range(4)]
    assert True in [writer.result() for writer in writers]
    last = store_at(server.url)
    assert not last.put(upload).created
    last.close()
    assert (server.files / "Clinica" / INVOICE).read_bytes() == upload.path.read_bytes()
    assert files_of(server)[-1] == f"Clinica/{INVOICE}"


def test_many_documents_at_once_share_their_new_folders(server: WebDav, tmp_path: Path) -> None:
    store = store_at(server.url)
    upload = upload_of(tmp_path)
    ready = threading.Barrier(6)

    def write(number: int) -> bool:
        own = replace(upload, document_id=f"{number}{DOCUMENT[1:]}")
        ready.wait(10)
        return store.put(own).created

    with ThreadPoolExecutor(6) as pool:
        created = list(pool.map(write, range(6)))
    store.close()
    assert created == [True] * 6
    assert len(files_of(server)) == 6


def test_200_mb_pass_in_little_memory(server: WebDav, tmp_path: Path) -> None:
    upload = upload_of(tmp_path, 200_000_000)
    process = put_in_a_process(server.url, LOGIN, PASSWORD, upload)
    said, _ = process.communicate(timeout=200)
    answer = json.loads(said)
    assert answer["created"]
    assert answer["grown_mb"] < 20
    assert (server.files / "Clinica" / INVOICE).stat().st_size == 200_000_000


def test_a_kill_in_mid_upload_leaves_nothing_under_the_documents_name(
    server: WebDav, tmp_path: Path
) -> None:
    upload = upload_of(tmp_path, 200_000_000)
    process = put_in_a_process(server.url, LOGIN, PASSWORD, upload)
    wait_until(
        lambda: any("/.incoming/" in name for name in files_of(server)),
        "something is being uploaded",
        every_s=0.005,
    )
    process.kill()
    process.communicate()
    assert f"Clinica/{INVOICE}" not in files_of(server)
    # A server that still reads what was on its way may write the leftover once more: it has a
    # name of its own, so that nothing comes of it.
    store = store_at(server.url)
    assert store.put(upload).created
    store.close()
    place = server.files / "Clinica" / INVOICE
    assert place.stat().st_size == upload.size_bytes
    assert files_of(server) == [f"Clinica/{INVOICE}"]


def test_a_refused_login_says_what_to_do(server: WebDav, tmp_path: Path) -> None:
    store = store_at(server.url, password="old")
    with pytest.raises(TransientError, match=r"HTTP 401.*make a new app password") as caught:
        store.put(upload_of(tmp_path))
    assert "old" not in str(caught.value)
    with pytest.raises(TransientError, match=r"HTTP 401.*make a new app password"):
        store.check()
    store.close()


def test_the_check_says_where(server: WebDav, store: WebDavStore) -> None:
    assert store.check().startswith(f"Logged in to WebDAV at {server.url}")
    elsewhere = store_at(f"{server.url}/nowhere")
    with pytest.raises(TransientError, match=r"there is no such folder. Check the address"):
        elsewhere.check()
    elsewhere.close()


def test_a_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    store = store_at(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TransientError, match=r"Connection refused.*is the server up"):
        store.put(upload_of(tmp_path))
    store.close()
