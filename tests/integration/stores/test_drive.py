"""The Drive store against the emulator, a real process over TLS: every failure, one by one."""

import hashlib
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from clinic.clients.drive import DriveStore
from clinic.clients.drive_files import FOLDER
from clinic.clients.drive_upload import DriveApi, Patience, ResumableUpload, Resume
from clinic.documents.store import Stored, Upload
from clinic.errors import ParkError, TransientError
from support.drive import SCOPE, Drive, running_drive

MIB = 1024**2
UPLOAD = "/upload/drive/v3/files"
CHUNK = "upload_id="
FOLDERS = "/drive/v3/files?"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    with running_drive(tmp_path_factory.mktemp("drive"), quota_bytes=1024 * MIB) as drive:
        yield drive


@pytest.fixture
def drive(server: Drive) -> Iterator[Drive]:
    yield server
    server.reset()


class Clock:
    """Waits without waiting, and remembers."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


Make = Callable[..., DriveStore]


@pytest.fixture
def store_of(drive: Drive, clock: Clock, request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[DriveStore] = []

    def make(credentials: Any = None, **settings: Any) -> DriveStore:
        settings = {
            "drive_id": drive.drive_id, "endpoint": drive.url, "sleep": clock.sleep,
            "chunk_bytes": MIB,
        } | settings  # fmt: skip
        root = f"Clínica/{request.node.name[:40]}'s"
        made.append(DriveStore(drive.session(credentials), root, **settings))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(store_of: Make) -> DriveStore:
    return store_of()


@pytest.fixture
def upload(tmp_path: Path, store: DriveStore, request: pytest.FixtureRequest) -> Upload:
    return document(tmp_path, store.reserve(), request.node.name)


def document(
    folder: Path, reserved_id: str | None, name: str, size: int = 3 * MIB + 77, revision: int = 1
) -> Upload:
    path = folder / f"{name[:60]}.pdf".replace("/", "_")
    with path.open("wb") as file:
        file.write(b"%PDF-1.7\n")
        file.truncate(size)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    document_id = hashlib.md5(name.encode()).hexdigest()
    return Upload(
        document_id, revision, "invoice", "INV_2026_00001.pdf", "application/pdf", path, size,
        sha256, date(2026, 3, 9), reserved_id,
    )  # fmt: skip


def files_of(drive: Drive, upload: Upload) -> list[dict[str, Any]]:
    """Return all files of a document that are not in the trash."""
    with drive.session() as session:
        answer = session.get(
            f"{drive.url}/drive/v3/files",
            params={
                "q": f"appProperties has {{ key='clinic_document' and value="
                f"'{upload.document_id}' }} and trashed = false",
                "fields": "files(*)",
                "supportsAllDrives": "true",
                "includeItemsFromAllDrives": "true",
            },
        )
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["files"]
    return found


def stored_once(drive: Drive, upload: Upload, stored: Stored) -> None:
    """Check that the document lies in Drive exactly once, whole."""
    (file,) = files_of(drive, upload)
    assert file["id"] == stored.file_id
    assert file["sha256Checksum"] == upload.sha256 == stored.sha256
    assert file["size"] == str(upload.size_bytes)
    with drive.session() as session:
        content = session.get(
            f"{drive.url}/drive/v3/files/{stored.file_id}",
            params={"alt": "media", "supportsAllDrives": "true"},
        ).content
    assert content == upload.path.read_bytes()


def folder_path(drive: Drive, file_id: str) -> list[str]:
    """Return the names of the folders around a file, outermost first."""
    names: list[str] = []
    with drive.session() as session:
        while True:
            file = session.get(
                f"{drive.url}/drive/v3/files/{file_id}",
                params={"fields": "name,parents", "supportsAllDrives": "true"},
            ).json()
            if not file["parents"]:
                return names
            (file_id,) = file["parents"]
            names.insert(0, file["name"])


def test_a_document_goes_to_year_month_and_type(
    drive: Drive, store: DriveStore, upload: Upload
) -> None:
    stored = store.put(upload)
    stored_once(drive, upload, stored)
    assert stored.created
    assert stored.store == "drive"
    assert folder_path(drive, stored.file_id)[-4:] == [
        "2026", "03", "invoice", f"INV_2026_00001_{upload.document_id[:8]}.pdf",
    ]  # fmt: skip
    assert stored.url == f"{drive.url}/file/d/{stored.file_id}/view"


def test_a_repeat_finds_what_is_there(drive: Drive, store: DriveStore, upload: Upload) -> None:
    first = store.put(upload)
    assert store.put(upload) == replace(first, created=False)
    stored_once(drive, upload, first)


def test_a_repeat_without_a_reserved_id_finds_it_by_its_properties(
    drive: Drive, store: DriveStore, upload: Upload
) -> None:
    first = store.put(replace(upload, reserved_id=None))
    assert store.put(replace(upload, reserved_id=None)) == replace(first, created=False)
    stored_once(drive, upload, first)


def test_an_id_that_this_account_cannot_use_is_replaced(
    drive: Drive, store: DriveStore, upload: Upload
) -> None:
    foreign = replace(upload, reserved_id="1AnIdOfAnotherAccount")
    first = store.put(foreign)
    stored_once(drive, upload, first)
    assert store.put(foreign) == replace(first, created=False)


def test_other_bytes_in_its_place_are_never_overwritten(
    drive: Drive, store: DriveStore, upload: Upload, tmp_path: Path
) -> None:
    stored = store.put(upload)
    other = document(tmp_path, upload.reserved_id, "other", size=1000)
    with pytest.raises(ParkError, match=r"with other content\. Nothing was overwritten") as raised:
        store.put(other)
    assert raised.value.reason == "store_refused"
    stored_once(drive, upload, stored)


def test_an_expired_token_is_refreshed_once(
    drive: Drive, store: DriveStore, upload: Upload
) -> None:
    drive.fault(method="PUT", path=CHUNK, nth=2, kind="expire_tokens")
    stored_once(drive, upload, store.put(upload))


def test_a_token_refused_twice_waits_for_a_person(
    drive: Drive, store: DriveStore, upload: Upload, clock: Clock
) -> None:
    drive.fault(path="/files", times=99, kind="status", status=401, reason="authError")
    with pytest.raises(TransientError, match=r"Check the connection's key and scope"):
        store.put(upload)
    assert clock.pauses == []


def test_a_refused_login_says_what_to_check(drive: Drive, store_of: Make) -> None:
    drive.fault(path="/token", times=9, kind="status", status=400, reason="invalid_grant")
    with pytest.raises(TransientError, match="Google gives no token"):
        store_of().check()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "userRateLimitExceeded"),
        (403, "rateLimitExceeded"),
        (412, "conditionNotMet"),
        (429, "rateLimitExceeded"),
        (500, "backendError"),
        (503, "backendError"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", UPLOAD), ("PUT", CHUNK), ("GET", "/drive/v3/files"), ("POST", FOLDERS)],
)  # fmt: skip
def test_what_passes_is_waited_for(
    drive: Drive, store: DriveStore, upload: Upload, clock: Clock, status: int, reason: str,
    method: str, path: str,
) -> None:  # fmt: skip
    drive.fault(method=method, path=path, times=2, kind="status", status=status, reason=reason)
    stored_once(drive, upload, store.put(upload))
    assert len(clock.pauses) == 2
    assert 1 <= clock.pauses[0] <= 2
    assert 1 <= clock.pauses[1] <= 3


def test_retry_after_is_honoured(
    drive: Drive, store: DriveStore, upload: Upload, clock: Clock
) -> None:
    drive.fault(
        method="PUT", path=CHUNK, kind="status", status=429, reason="rateLimitExceeded",
        retry_after=17,
    )  # fmt: skip
    stored_once(drive, upload, store.put(upload))
    assert clock.pauses == [17]


def test_a_longer_wait_is_left_to_the_caller(
    drive: Drive, store: DriveStore, upload: Upload, clock: Clock
) -> None:
    drive.fault(path=UPLOAD, kind="status", status=503, retry_after=600)
    with pytest.raises(TransientError) as raised:
        store.put(upload)
    assert raised.value.retry_after_s == 600
    assert clock.pauses == []


def test_a_full_drive_is_said_at_once(
    drive: Drive, store: DriveStore, upload: Upload, clock: Clock
) -> None:
    drive.fault(path=UPLOAD, kind="status", status=403, reason="storageQuotaExceeded")
    with pytest.raises(TransientError, match="no space left"):
        store.put(upload)
    assert clock.pauses == []
    stored_once(drive, upload, store.put(upload))  # somebody made space


def test_an_api_that_is_switched_off_is_called_so(
    drive: Drive, store: DriveStore, upload: Upload
) -> None:
    drive.fault(path=UPLOAD, kind="status", status=403, reason="accessNotConfigured")
    with pytest.raises(TransientError, match=r"Drive API is switched off .*: enable it there"):
        store.put(upload)


def test_a_service_account_has_no_space_of_its_own(
    store_of: Make, upload: Upload, drive: Drive
) -> None:
    alone = store_of(drive_id=None)
    with pytest.raises(TransientError, match=r"name a shared drive \(drive_id\) or a person"):
        alone.put(replace(upload, reserved_id=alone.reserve()))
    with pytest.raises(TransientError, match="has no space of its own"):
        alone.check()


@pytest.mark.parametrize("who", ["delegate", "person"])
def test_a_persons_own_drive_is_used_with_delegation_or_consent(
    drive: Drive, store_of: Make, upload: Upload, who: str
) -> None:
    person = drive.person() if who == "person" else drive.service_account("jefa@clinica.example")
    store = store_of(person, drive_id=None)
    stored = store.put(replace(upload, reserved_id=store.reserve()))
    assert stored.created
    assert "in their My Drive" in store.check()


def test_a_deleted_folder_is_made_again(drive: Drive, store: DriveStore, upload: Upload) -> None:
    store._files.folder(upload.folders, store._patience())
    drive.fault(method="POST", path=UPLOAD, kind="folder_gone")
    stored = store.put(upload)
    stored_once(drive, upload, stored)
    assert folder_path(drive, stored.file_id)[-4:-1] == ["2026", "03", "invoice"]


def test_a_folder_that_is_deleted_again_and_again_is_said(
    drive: Drive, store: DriveStore, upload: Upload
) -> None:
    drive.fault(method="POST", path=UPLOAD, kind="folder_gone", times=9)
    with pytest.raises(TransientError, match="disappears again and again"):
        store.put(upload)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_folder_in_the_trash_is_not_used(
    drive: Drive, store: DriveStore, store_of: Make, upload: Upload, tmp_path: Path, is_known: bool
) -> None:
    before = store.put(document(tmp_path, store.reserve(), f"before{is_known}"))
    (folder_id,) = [
        file["parents"][0]
        for file in files_of(drive, document(tmp_path, None, f"before{is_known}"))
    ]
    with drive.session() as session:
        session.patch(
            f"{drive.url}/drive/v3/files/{folder_id}",
            params={"supportsAllDrives": "true"},
            json={"trashed": True},
        ).raise_for_status()
    stored = (store if is_known else store_of()).put(upload)
    stored_once(drive, upload, stored)
    assert before.file_id != stored.file_id


@pytest.mark.parametrize("after_bytes", [0, 300_000, MIB - 1])
def test_a_connection_reset_in_a_chunk_goes_on_where_it_broke(
    drive: Drive, store: DriveStore, upload: Upload, after_bytes: int
) -> None:
    drive.fault(method="PUT", path=CHUNK, nth=2, kind="reset", after_bytes=after_bytes)
    stored_once(drive, upload, store.put(upload))
    ranges = [entry["content_range"] for entry in drive.log() if entry["method"] == "PUT"]
    assert f"bytes */{upload.size_bytes}" in ranges
    assert sum(1 for one in ranges if one.startswith("bytes 0-")) == 1


def test_only_what_drive_says_it_has_counts(
    drive: Drive, store: DriveStore, upload: Upload
) -> None:
    drive.fault(method="PUT", path=CHUNK, kind="partial", keep_bytes=512 * 1024)
    stored_once(drive, upload, store.put(upload))


@pytest.mark.parametrize(
    ("method", "path", "nth"),
    [
        ("POST", UPLOAD, 1), ("PUT", CHUNK, 1), ("PUT", CHUNK, 4), ("POST", FOLDERS, 1),
        ("GET", "/drive/v3/files", 1),
    ],
)  # fmt: skip
def test_a_reply_that_is_lost_stores_nothing_twice(
    drive: Drive, store: DriveStore, upload: Upload, method: str, path: str, nth: int
) -> None:
    drive.fault(method=method, path=path, nth=nth, kind="lost_reply")
    stored_once(drive, upload, store.put(upload))
    assert any(entry["fault"] == "lost_reply" for entry in drive.log())


def test_a_session_that_is_over_is_begun_anew(
    drive: Drive, store: DriveStore, upload: Upload
) -> None:
    drive.fault(method="PUT", path=CHUNK, nth=3, kind="expire_session")
    stored_once(drive, upload, store.put(upload))


@pytest.mark.parametrize("status", [400, 410])
@pytest.mark.parametrize("nth", [1, 3])
def test_a_session_that_is_refused_is_begun_anew_once(
    drive: Drive, store: DriveStore, upload: Upload, status: int, nth: int
) -> None:
    drive.fault(method="PUT", path=CHUNK, nth=nth, kind="status", status=status, reason="gone")
    stored_once(drive, upload, store.put(upload))
    begun = [one for one in drive.log() if one["method"] == "POST" and UPLOAD in one["path"]]
    assert len(begun) == 2


def test_a_file_that_is_refused_in_each_session_is_parked(
    drive: Drive, store: DriveStore, upload: Upload
) -> None:
    drive.fault(method="PUT", path=CHUNK, times=99, kind="status", status=400, reason="bad")
    with pytest.raises(ParkError, match="HTTP 400"):
        store.put(upload)
    begun = [one for one in drive.log() if one["method"] == "POST" and UPLOAD in one["path"]]
    assert len(begun) == 2


def test_a_damaged_file_goes_to_the_trash_and_is_sent_again(
    drive: Drive, store: DriveStore, upload: Upload
) -> None:
    drive.fault(method="PUT", path=CHUNK, kind="corrupt")
    with pytest.raises(TransientError, match="not what was sent"):
        store.put(upload)
    assert files_of(drive, upload) == []
    stored = store.put(upload)
    assert stored.created
    stored_once(drive, upload, stored)
    assert store.put(upload) == replace(stored, created=False)


def test_it_gives_up_after_a_minute(
    drive: Drive, store_of: Make, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    store = store_of()

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(store, "_patience", lambda: Patience(60, sleep, lambda: now[0]))
    drive.fault(path="/drive/v3", times=999, kind="status", status=503)
    with pytest.raises(TransientError, match="HTTP 503"):
        store.put(upload)
    assert 15 < now[0] <= 60


def test_nothing_listens(drive: Drive, upload: Upload, clock: Clock) -> None:
    store = DriveStore(
        drive.session(), "x", endpoint="https://127.0.0.1:9", sleep=clock.sleep, patience_s=5
    )
    with pytest.raises(TransientError, match="connection to Drive broke"):
        store.put(upload)
    store.close()
    assert clock.pauses


def test_an_unknown_authority_is_said(
    drive: Drive, store: DriveStore, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.reserve()  # the token is there
    fresh = DriveStore(store._api._session, "x", endpoint=drive.url)
    fresh._api._session.close()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")
    with pytest.raises(TransientError, match="REQUESTS_CA_BUNDLE"):
        fresh.check()


def test_an_access_that_may_only_read_says_which_right_is_missing(
    drive: Drive, store_of: Make, upload: Upload
) -> None:
    reader = store_of(drive.service_account(scope=f"{SCOPE}.readonly"))
    with pytest.raises(TransientError, match="Give the account the right to write"):
        reader.put(upload)


def test_a_shared_drive_that_is_not_there_is_said(store_of: Make, upload: Upload) -> None:
    store = store_of(drive_id="0Anowhere")
    with pytest.raises(TransientError, match="Shared drive not found"):
        store.check()
    with pytest.raises(TransientError, match="Shared drive not found"):
        store.put(upload)


def test_check_says_who_and_where(drive: Drive, store: DriveStore) -> None:
    said = store.check()
    assert drive.config["service_account"]["client_email"] in said
    assert "shared drive 'Clínica'" in said


WORKER = """
import json, sys, threading
from clinic.clients.drive import DriveStore
from google.oauth2 import service_account
from google.auth.transport.requests import AuthorizedSession

keyfile, url, drive_id, root = sys.argv[1:]
credentials = service_account.Credentials.from_service_account_file(
    keyfile, scopes=["https://www.googleapis.com/auth/drive"]
)
store = DriveStore(AuthorizedSession(credentials), root, drive_id=drive_id, endpoint=url)
store.reserve()
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([store._files.folder((str(n),), store._patience()) for n in range(8)]))
"""


def test_two_workers_that_race_make_no_folder_twice(drive: Drive, tmp_path: Path) -> None:
    root = tmp_path.name
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(drive.keyfile), drive.url, drive.drive_id, root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                "PYTHONPATH": "include",
                "REQUESTS_CA_BUNDLE": str(drive.ca_file),
                "PATH": "/usr/bin",
            },
            cwd=Path(__file__).parents[3],
        )
        for _ in range(3)
    ]
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers = [json.loads(worker.communicate(timeout=60)[0]) for worker in workers]
    assert answers[0] == answers[1] == answers[2]
    assert len(set(answers[0])) == 8
    with drive.session() as session:
        found = session.get(
            f"{drive.url}/drive/v3/files",
            params={
                "q": f"(name = '{root}' or name = '7') and mimeType = '{FOLDER}' "
                "and trashed = false",
                "supportsAllDrives": "true",
                "includeItemsFromAllDrives": "true",
            },
        ).json()["files"]
    assert sorted(file["name"] for file in found) == sorted(["7", root])


def test_two_threads_put_the_same_document_once(
    drive: Drive, store: DriveStore, upload: Upload
) -> None:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(store.put, [upload, upload]))
    assert sorted(result.created for result in results) == [False, True]
    stored_once(drive, upload, results[0])


def test_200_mb_take_constant_memory(drive: Drive, store_of: Make, tmp_path: Path) -> None:
    store = store_of(chunk_bytes=8 * MIB)
    big = document(tmp_path, store.reserve(), "big", size=200 * MIB)
    store.put(document(tmp_path, store.reserve(), "warm"))
    tracemalloc.start()
    try:
        stored = store.put(big)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stored.created
    assert peak < 20 * MIB


def test_an_upload_goes_on_in_another_process(
    drive: Drive, store: DriveStore, tmp_path: Path
) -> None:
    big = document(tmp_path, store.reserve(), "resumed")
    api = DriveApi(drive.session(), drive.url)
    metadata = {"id": big.reserved_id, "name": "resumed", "parents": [drive.drive_id]}
    kept: list[tuple[str | None, int]] = []
    drive.fault(method="PUT", path=CHUNK, nth=3, times=99, kind="status", status=503)
    first = Resume()
    with pytest.raises(TransientError, match="HTTP 503"):
        ResumableUpload(api, big.path, chunk_bytes=MIB).run(
            metadata, Patience(0), fields="id,sha256Checksum", resume=first,
            on_progress=lambda state: kept.append((state.session_uri, state.sent_bytes)),
        )  # fmt: skip
    assert [sent for _, sent in kept] == [0, MIB, 2 * MIB]
    drive.reset()
    assert "upload_id" not in repr(first)
    # The emulator died and came back, too.
    drive.kill()
    drive.start()
    answer = ResumableUpload(api, big.path, chunk_bytes=MIB).run(
        metadata, Patience(60), fields="id,sha256Checksum", resume=Resume(*kept[-1])
    )
    assert answer == {"id": big.reserved_id, "sha256Checksum": big.sha256}
    sent = [entry["content_range"] for entry in drive.log() if entry["method"] == "PUT"]
    assert sent[0] == f"bytes */{big.size_bytes}"
    first_chunk = next(one for one in sent if not one.startswith("bytes */"))
    assert first_chunk.startswith(f"bytes {2 * MIB}-")
    api.close()


def test_no_log_holds_a_token_or_an_uploads_address(
    drive: Drive, store: DriveStore, upload: Upload, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        drive.fault(method="PUT", path=CHUNK, nth=2, kind="reset", after_bytes=10)
        drive.fault(method="PUT", path=CHUNK, nth=4, kind="status", status=500)
        store.put(upload)
    assert "trying again" in caplog.text
    for secret in ("ya29.", "upload_id=", drive.config["admin_token"]):
        assert secret not in caplog.text
    assert "upload_id=" not in json.dumps(drive.log())
