"""WebDavStore with an emulation of Nextcloud's own dialect, by HTTP. Not with a Nextcloud."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import stamina
from clinic.clients.webdav import CHUNK_BYTES, WebDavStore
from clinic.documents.reasons import ParkReason
from clinic.errors import ParkError, TransientError
from support.nextcloud import LOGIN, PASSWORD, TOKEN, Fault, Nextcloud, nextcloud_emulation
from support.processes import wait_until
from support.webdav import INVOICE, put_in_a_process, upload_of

PLACE = f"Clinica/{INVOICE}"
LARGE = 25 * 1024**2


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    stamina.set_testing(True, attempts=4, cap=True)
    yield
    stamina.set_testing(False)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Nextcloud]:
    with nextcloud_emulation(tmp_path / "cloud") as running:
        yield running


def store_of(cloud: Nextcloud, timeout_s: float = 10) -> WebDavStore:
    return WebDavStore.connect(
        cloud.url, "Clinica", login=LOGIN, password=PASSWORD, timeout_s=timeout_s
    )


@pytest.fixture
def store(cloud: Nextcloud) -> Iterator[WebDavStore]:
    made = store_of(cloud)
    yield made
    made.close()


def no_leftovers(cloud: Nextcloud) -> bool:
    return cloud.stored() == [PLACE] and list(cloud.uploads.iterdir()) == []


def test_a_small_file_goes_up_in_one_piece(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path
) -> None:
    upload = upload_of(tmp_path)
    stored = store.put(upload)
    assert stored.created
    assert stored.file_id == str(cloud.ids[str(cloud.files / PLACE)])
    assert stored.url == f"{cloud.site}/f/{stored.file_id}"
    assert cloud.checksums[str(cloud.files / PLACE)] == f"SHA256:{upload.sha256}"
    assert no_leftovers(cloud)
    assert cloud.sent("GET") == []  # Nextcloud computed the checksum itself
    again = store.put(upload)
    assert not again.created
    assert (again.file_id, again.url) == (stored.file_id, stored.url)


def test_a_large_file_goes_up_in_chunks(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path
) -> None:
    upload = upload_of(tmp_path, b"%PDF-1.7 " + bytes(LARGE))
    assert store.put(upload).created
    chunks = [path.rsplit("/", 1)[1] for path in cloud.sent("PUT")]
    assert chunks == ["00001", "00002", "00003"]
    assert (cloud.files / PLACE).read_bytes() == upload.path.read_bytes()
    assert no_leftovers(cloud)


@pytest.mark.parametrize("size_bytes", [CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])
def test_sizes_about_a_chunk(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path, size_bytes: int
) -> None:
    assert store.put(upload_of(tmp_path, size_bytes)).created
    assert len(cloud.sent("PUT")) == -(-size_bytes // CHUNK_BYTES)
    assert no_leftovers(cloud)


def test_a_checksum_that_was_only_repeated_proves_nothing(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path
) -> None:
    upload = upload_of(tmp_path)
    place = cloud.files / PLACE
    place.parent.mkdir(parents=True)
    place.write_bytes(upload.path.read_bytes().replace(b"one", b"two"))
    cloud.checksums[str(place)] = f"SHA256:{upload.sha256}"  # as some client said
    with pytest.raises(ParkError, match="is not overwritten") as caught:
        store.put(upload)
    assert caught.value.reason == ParkReason.STORE_REFUSED
    assert place.read_bytes().endswith(b"two")


def test_a_nextcloud_that_computes_no_checksum_is_read_back(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path
) -> None:
    cloud.knows_patch = False
    assert store.put(upload_of(tmp_path, LARGE)).created
    assert len(cloud.sent("GET")) == 1
    assert not store.put(upload_of(tmp_path, LARGE)).created


@pytest.mark.parametrize("size_bytes", [9000, LARGE])
@pytest.mark.parametrize(
    "fault",
    [
        Fault("PUT", "reset"),
        Fault("PUT", "lost"),
        Fault("PUT", "corrupt"),
        Fault("PUT", status=500),
        Fault("PUT", status=502),
        Fault("PUT", status=503),
        Fault("PUT", status=423),
        Fault("PUT", status=429, headers={"Retry-After": "2"}),
        Fault("PUT", status=409),
        Fault("PUT", status=404),
        Fault("PUT", status=412),
        Fault("MOVE", "reset"),
        Fault("MOVE", "lost"),
        Fault("MOVE", status=423),
        Fault("MOVE", status=500),
        Fault("MOVE", status=409),
        Fault("MKCOL", status=500),
        Fault("MKCOL", status=423),
        Fault("MKCOL", "lost", times=2),
        Fault("PROPFIND", status=503),
        Fault("PROPFIND", "reset", times=2),
        Fault("PATCH", status=500),
        Fault("DELETE", status=500, times=9),
    ],
    ids=lambda fault: f"{fault.method}-{fault.kind}-{fault.status}",
)
def test_a_blip_is_got_over(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path, fault: Fault, size_bytes: int
) -> None:
    fault = Fault(fault.method, fault.kind, fault.status, fault.headers, times=fault.times)
    cloud.faults.append(fault)
    upload = upload_of(tmp_path, size_bytes)
    stored = store.put(upload)
    assert fault.times == 0 or fault.method == "DELETE"
    assert stored.sha256 == upload.sha256
    assert (cloud.files / PLACE).read_bytes() == upload.path.read_bytes()
    assert [name for name in cloud.stored() if ".incoming" not in name] == [PLACE]


def test_a_short_file_is_sent_again(cloud: Nextcloud, store: WebDavStore, tmp_path: Path) -> None:
    cloud.faults.append(Fault("PUT", "truncate"))
    assert store.put(upload_of(tmp_path)).created
    assert no_leftovers(cloud)


@pytest.mark.parametrize(
    ("size_bytes", "says"),
    [
        (9000, "9000 bytes were sent and 8999 arrived"),
        (LARGE, f"HTTP 400, the chunks do not add up to {LARGE} bytes"),
    ],
)
def test_files_that_stay_short_are_not_stored(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path, size_bytes: int, says: str
) -> None:
    cloud.faults.append(Fault("PUT", "truncate", times=99))
    with pytest.raises(TransientError, match=says):
        store.put(upload_of(tmp_path, size_bytes))
    assert cloud.stored() == []
    assert list(cloud.uploads.iterdir()) == []


def test_an_answer_lost_after_success_makes_no_second_file(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path
) -> None:
    cloud.faults.append(Fault("MOVE", "lost"))
    assert not store.put(upload_of(tmp_path)).created  # found by the second try
    assert len(cloud.sent("PUT")) == 1
    assert no_leftovers(cloud)


def test_a_folder_deleted_in_mid_upload_is_made_again(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path
) -> None:
    cloud.faults.append(Fault("PUT", "deleted", path="/.incoming/"))
    assert store.put(upload_of(tmp_path)).created
    assert no_leftovers(cloud)


@pytest.mark.parametrize("size_bytes", [9000, LARGE])
@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (Fault("PUT", status=401), TransientError, "HTTP 401 Unauthorized.*new app password"),
        (Fault("PUT", status=403), TransientError, "HTTP 403 Forbidden.*right to write"),
        (Fault("PUT", status=405), TransientError, "HTTP 405.*check the address"),
        (Fault("PUT", status=507), TransientError, "HTTP 507.*raise its quota or free space"),
        (Fault("PUT", status=302), TransientError, "HTTP 302 Found, to elsewhere.*not sent there"),
        (Fault("PUT", status=400), ParkError, "HTTP 400.*does not take this file"),
        (Fault("PUT", status=413), ParkError, "HTTP 413.*does not take this file"),
        (Fault("PUT", status=415), ParkError, "HTTP 415.*does not take this file"),
        (Fault("MKCOL", status=403), TransientError, "HTTP 403.*right to write"),
        (Fault("PROPFIND", status=401), TransientError, "HTTP 401.*new app password"),
    ],
    ids=lambda value: f"{value.method}-{value.status}" if isinstance(value, Fault) else "",
)
def test_what_a_person_has_to_mend_is_said_at_once(
    cloud: Nextcloud,
    store: WebDavStore,
    tmp_path: Path,
    fault: Fault,
    error: type[Exception],
    says: str,
    size_bytes: int,
) -> None:
    cloud.faults.append(Fault(fault.method, fault.kind, fault.status, times=1))
    with pytest.raises(error, match=says) as caught:
        store.put(upload_of(tmp_path, size_bytes))
    assert PASSWORD not in str(caught.value)
    assert cloud.faults[0].times == 0
    assert cloud.stored() == []
    assert list(cloud.uploads.iterdir()) == []
    assert store.put(upload_of(tmp_path, size_bytes)).created  # once it is mended


@pytest.mark.parametrize("size_bytes", [9000, LARGE])
def test_a_full_account_says_so_and_keeps_no_half_file(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path, size_bytes: int
) -> None:
    cloud.free_bytes = 100
    with pytest.raises(TransientError, match=r"HTTP 507.*raise its quota or free space"):
        store.put(upload_of(tmp_path, size_bytes))
    assert cloud.stored() == []
    assert len(cloud.sent("PUT")) == 1


def test_chunks_that_do_not_add_up_are_sent_again(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path
) -> None:
    cloud.faults.append(Fault("PUT", "truncate", path="/00002"))
    assert store.put(upload_of(tmp_path, LARGE)).created
    assert len(cloud.sent("PUT")) == 6
    assert no_leftovers(cloud)


@pytest.mark.parametrize("kind", ["reset", "status"])
def test_an_outage_is_left_to_the_queue_after_a_few_tries(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path, kind: str
) -> None:
    cloud.faults.append(Fault("PUT", kind, 503, times=1000))
    with pytest.raises(TransientError, match="Trying again may help"):
        store.put(upload_of(tmp_path))
    assert len(cloud.sent("PUT")) == 4
    assert cloud.stored() == []


def test_a_long_wait_that_the_server_asks_for_is_handed_on(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path
) -> None:
    cloud.faults.append(Fault("PUT", status=429, headers={"Retry-After": "900"}, times=9))
    with pytest.raises(TransientError, match=r"HTTP 429.*fewer requests") as caught:
        store.put(upload_of(tmp_path))
    assert caught.value.retry_after_s == 900
    assert len(cloud.sent("PUT")) == 1


def test_a_server_that_says_nothing_is_given_up(cloud: Nextcloud, tmp_path: Path) -> None:
    cloud.faults.append(Fault("PROPFIND", "silent", times=1))
    store = store_of(cloud, timeout_s=0.3)
    assert store.put(upload_of(tmp_path)).created
    cloud.faults.append(Fault("PROPFIND", "silent", times=9))
    with pytest.raises(TransientError, match="no answer in time"):
        store.put(upload_of(tmp_path))
    store.close()


def test_a_chunk_that_failed_is_sent_again_alone(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path
) -> None:
    cloud.faults.append(Fault("PUT", "reset", path="/00002"))
    assert store.put(upload_of(tmp_path, LARGE)).created
    chunks = [path.rsplit("/", 1)[1] for path in cloud.sent("PUT")]
    assert chunks == ["00001", "00002", "00002", "00003"]


@pytest.mark.parametrize("size_bytes", [9000, LARGE])
def test_a_file_that_came_meanwhile_is_compared(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path, size_bytes: int
) -> None:
    """Another writer puts the same document in its place between our look and our MOVE."""
    upload = upload_of(tmp_path, size_bytes)
    seen = threading.Event()

    original = cloud.fault_for

    def fault_for(method: str, path: str) -> Fault | None:
        if method == "MOVE" and "/.incoming/" in path and not seen.is_set():
            seen.set()
            (cloud.files / PLACE).write_bytes(upload.path.read_bytes())
        return original(method, path)

    cloud.fault_for = fault_for  # type: ignore[method-assign]
    assert not store.put(upload).created
    assert seen.is_set()
    assert no_leftovers(cloud)


def test_a_server_that_knows_no_preconditions_does_no_harm(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path
) -> None:
    cloud.faults.extend([Fault("PUT", "ignore", times=99), Fault("MOVE", "ignore", times=99)])
    assert store.put(upload_of(tmp_path)).created
    with pytest.raises(ParkError, match="is not overwritten"):
        store.put(upload_of(tmp_path, b"%PDF-1.7 two"))
    assert not store.put(upload_of(tmp_path)).created


def test_200_mb_pass_in_little_memory(cloud: Nextcloud, tmp_path: Path) -> None:
    process = put_in_a_process(cloud.url, LOGIN, PASSWORD, upload_of(tmp_path, 200_000_000))
    said, _ = process.communicate(timeout=200)
    answer = json.loads(said)
    assert answer["created"]
    assert answer["grown_mb"] < 20
    assert len(cloud.sent("PUT")) == 20
    assert no_leftovers(cloud)


def test_a_kill_in_mid_upload_is_mended_by_the_next_try(
    cloud: Nextcloud, store: WebDavStore, tmp_path: Path
) -> None:
    upload = upload_of(tmp_path, LARGE)
    hanging = Fault("PUT", "silent", path="/00003")
    cloud.faults.append(hanging)
    process = put_in_a_process(cloud.url, LOGIN, PASSWORD, upload)
    wait_until(lambda: hanging.times == 0, "the third chunk is on its way")
    process.kill()
    process.communicate()
    assert len(list(cloud.uploads.iterdir())) == 1
    assert cloud.stored() == []
    assert store.put(upload).created
    assert no_leftovers(cloud)


def test_writers_racing_for_one_document_store_it_once(cloud: Nextcloud, tmp_path: Path) -> None:
    upload = upload_of(tmp_path, LARGE)
    ready = threading.Barrier(2)

    def write() -> bool | None:
        store = store_of(cloud)
        ready.wait(10)
        try:
            return store.put(upload).created
        except TransientError:  # each deleted the other's chunks: the queue tries again
            return None
        finally:
            store.close()

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
    assert [writer.result() for writer in writers].count(True) <= 1
    last = store_of(cloud)
    last.put(upload)
    last.close()
    assert (cloud.files / PLACE).read_bytes() == upload.path.read_bytes()


def test_a_bearer_token_is_sent_instead_of_a_login(cloud: Nextcloud, tmp_path: Path) -> None:
    store = WebDavStore.connect(cloud.url, "Clinica", login="", password=TOKEN, is_bearer=True)
    assert store.put(upload_of(tmp_path)).created
    store.close()


def test_the_check_says_where_and_how_much_space_is_left(
    cloud: Nextcloud, store: WebDavStore
) -> None:
    cloud.free_bytes = 12_300_000_000
    assert store.check() == f"Logged in to Nextcloud at {cloud.url}, 12.3 GB free"


def test_the_emulation_fails_closed(cloud: Nextcloud) -> None:
    """What Nextcloud's manual does not allow gets no answer that could be taken for a success."""
    uploads = cloud.url.replace("/files/", "/uploads/")
    there = {"Destination": f"{cloud.url}/a.pdf"}
    length = {"OC-Total-Length": "1"}

    def status(method: str, url: str, headers: dict[str, str] | None = None) -> int:
        login = httpx.BasicAuth(LOGIN, PASSWORD)
        body = b"" if method == "MKCOL" else b"x"
        return httpx.request(method, url, headers=headers, content=body, auth=login).status_code

    assert status("PROPFIND", cloud.url) == 400  # without a Depth
    assert status("PROPFIND", cloud.url, {"Depth": "infinity"}) == 400
    assert status("LOCK", cloud.url) == 501
    assert status("PUT", f"{cloud.url}/a.pdf", {"OC-Chunked": "1"}) == 400
    assert status("MKCOL", f"{uploads}/one") == 400  # without a Destination
    assert status("MKCOL", f"{uploads}/one", there) == 201
    assert status("PUT", f"{uploads}/one/00000", there | length) == 400
    assert status("PUT", f"{uploads}/one/10001", there | length) == 400
    assert status("PUT", f"{uploads}/one/00001", {"Destination": f"{cloud.url}/b"} | length) == 400
    assert status("PUT", f"{uploads}/one/00001", there) == 400  # without a total length
    assert status("PUT", f"{uploads}/one/00001", there | length) == 201
    assert status("PUT", f"{uploads}/one/00002", there | length) == 201
    assert status("MOVE", f"{uploads}/one/.file", there | {"OC-Total-Length": "3"}) == 400
    assert status("MOVE", f"{uploads}/one/.file", there | {"OC-Total-Length": "2"}) == 400  # small
    assert status("GET", f"{uploads}/one/00001", there) == 501
    assert cloud.stored() == []
