"""The Drive vault against the emulator, a real process over TLS: every failure, one by one."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clinic.backups.vault import Vault, VaultFile
from clinic.clients.drive_vault import DriveVault
from clinic.errors import PermanentError, TransientError
from support.drive import SCOPE, Drive, running_drive

MIB = 1024**2
UPLOAD = "/upload/drive/v3/files"
CHUNK = "upload_id="
MEDIA = "alt=media"
FOLDERS = ("odoo", "full", "2026", "11")


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


Make = Callable[..., DriveVault]


@pytest.fixture
def vault_of(drive: Drive, clock: Clock, request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[DriveVault] = []

    def make(credentials: Any = None, **settings: Any) -> DriveVault:
        settings = {
            "drive_id": drive.drive_id, "endpoint": drive.url, "sleep": clock.sleep,
            "chunk_bytes": MIB,
        } | settings  # fmt: skip
        root = f"Copias/{hashlib.md5(request.node.name.encode()).hexdigest()}"
        made.append(DriveVault(drive.session(credentials), root, **settings))
        return made[-1]

    yield make
    for vault in made:
        vault.close()


@pytest.fixture
def vault(vault_of: Make) -> DriveVault:
    return vault_of()


class Archive:
    """A file to be backed up, and its upload."""

    def __init__(self, path: Path, name: str, reserved_id: str, size: int) -> None:
        with path.open("wb") as file:
            for at in range(0, size, 64 * 1024):
                block = hashlib.shake_256(f"{name}{at}".encode()).digest(64 * 1024)
                file.write(block[: size - at])
        self.path, self.name, self.size = path, name, size
        self.reserved_id = reserved_id
        with path.open("rb") as content:
            self.sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        self.properties = {"clinic_backup": f"id-of-{name}"[:80], "clinic_sha256": self.sha256}

    def send(self, vault: Vault, **more: Any) -> VaultFile:
        return vault.upload(
            self.path, name=self.name, folders=FOLDERS, sha256=self.sha256,
            content_type="application/octet-stream", properties=self.properties,
            **({"reserved_id": self.reserved_id} | more),
        )  # fmt: skip

    def fetch(self, vault: Vault, file: VaultFile, sink: Path, **more: Any) -> None:
        vault.download(file.file_id, sink, size_bytes=self.size, sha256=self.sha256, **more)


@pytest.fixture
def archive(tmp_path: Path, vault: DriveVault, request: pytest.FixtureRequest) -> Archive:
    name = f"{request.node.name[:60]}.tar.age"
    return Archive(tmp_path / "archive", name, vault.reserve(), 3 * MIB + 77)


def kept_once(drive: Drive, vault: DriveVault, archive: Archive, stored: VaultFile) -> None:
    """Check that the archive lies in the vault exactly once, whole, with its properties."""
    assert [one.name for one in vault.files()] == [archive.name]
    (file,) = vault.files()
    assert file == stored
    assert (file.size_bytes, file.sha256) == (archive.size, archive.sha256)
    assert file.properties == archive.properties
    with drive.session() as session:
        content = session.get(
            f"{drive.url}/drive/v3/files/{stored.file_id}",
            params={"alt": "media", "supportsAllDrives": "true"},
        ).content
    assert content == archive.path.read_bytes()


# Upload


def test_an_archive_is_kept_and_found(drive: Drive, vault: DriveVault, archive: Archive) -> None:
    assert vault.files() == []
    stored = archive.send(vault)
    kept_once(drive, vault, archive, stored)
    assert stored.file_id == archive.reserved_id
    assert vault.get(stored.file_id) == stored
    assert vault.read(stored.file_id, archive.size) == archive.path.read_bytes()
    with pytest.raises(PermanentError, match="more than 100 bytes"):
        vault.read(stored.file_id, 100)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "userRateLimitExceeded"),
        (412, "conditionNotMet"),
        (429, "rateLimitExceeded"),
        (500, "backendError"),
        (503, "backendError"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", UPLOAD), ("PUT", CHUNK), ("GET", "/drive/v3/files?"), ("GET", MEDIA)],
)
def test_what_passes_is_waited_for(
    drive: Drive, vault: DriveVault, archive: Archive, clock: Clock, tmp_path: Path, status: int,
    reason: str, method: str, path: str,
) -> None:  # fmt: skip
    drive.fault(method=method, path=path, times=2, kind="status", status=status, reason=reason)
    stored = archive.send(vault)
    archive.fetch(vault, stored, tmp_path / "sink")
    assert (tmp_path / "sink").read_bytes() == archive.path.read_bytes()
    assert len(clock.pauses) == 2
    kept_once(drive, vault, archive, stored)


def test_retry_after_is_honoured(
    drive: Drive, vault: DriveVault, archive: Archive, clock: Clock, tmp_path: Path
) -> None:
    busy = {"kind": "status", "status": 429, "reason": "rateLimitExceeded", "retry_after": 70}
    drive.fault(method="PUT", path=CHUNK, **busy)
    drive.fault(method="GET", path=MEDIA, **busy)
    archive.fetch(vault, archive.send(vault), tmp_path / "sink")
    assert clock.pauses == [70, 70]


@pytest.mark.parametrize(("method", "path"), [("PUT", CHUNK), ("GET", MEDIA)])
def test_an_expired_token_is_refreshed(
    drive: Drive, vault: DriveVault, archive: Archive, tmp_path: Path, method: str, path: str
) -> None:
    drive.fault(method=method, path=path, kind="expire_tokens")
    stored = archive.send(vault)
    archive.fetch(vault, stored, tmp_path / "sink")
    kept_once(drive, vault, archive, stored)


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        (401, "authError", "Check the connection's key and scope"),
        (403, "storageQuotaExceeded", "no space left"),
        (403, "insufficientPermissions", "Give the account the right to write"),
    ],
)
def test_what_needs_a_person_is_said_at_once(
    drive: Drive, vault: DriveVault, archive: Archive, clock: Clock, status: int, reason: str,
    said: str,
) -> None:  # fmt: skip
    drive.fault(path=UPLOAD, times=9, kind="status", status=status, reason=reason)
    with pytest.raises(TransientError, match=said):
        archive.send(vault)
    assert clock.pauses == []
    drive.reset()
    kept_once(drive, vault, archive, archive.send(vault))


def test_a_full_drive_in_the_middle_is_gone_on_with_when_there_is_space(
    drive: Drive, vault: DriveVault, archive: Archive
) -> None:
    kept: list[tuple[str | None, int]] = []
    full = {"kind": "status", "status": 403, "reason": "storageQuotaExceeded"}
    drive.fault(method="PUT", path=CHUNK, nth=3, **full)
    with pytest.raises(TransientError, match="no space left"):
        archive.send(vault, on_progress=lambda *state: kept.append(state))
    assert [sent for _, sent in kept] == [0, MIB, 2 * MIB]
    drive.reset()
    kept_once(drive, vault, archive, archive.send(vault, session_uri=kept[-1][0]))
    assert f"bytes {2 * MIB}-{3 * MIB - 1}/{archive.size}" in ranges_sent(drive)
    assert not any(one.startswith("bytes 0-") for one in ranges_sent(drive))


def ranges_sent(drive: Drive) -> list[str]:
    return [one["content_range"] for one in drive.log() if one["method"] == "PUT"]


def test_a_deleted_folder_is_made_again(drive: Drive, vault: DriveVault, archive: Archive) -> None:
    drive.fault(method="POST", path=UPLOAD, kind="folder_gone")
    kept_once(drive, vault, archive, archive.send(vault))


def test_a_folder_that_is_deleted_again_and_again_is_said(
    drive: Drive, vault: DriveVault, archive: Archive
) -> None:
    drive.fault(method="POST", path=UPLOAD, kind="folder_gone", times=9)
    with pytest.raises(TransientError, match="disappears again and again"):
        archive.send(vault)


def trash(drive: Drive, file_id: str) -> None:
    with drive.session() as session:
        session.patch(
            f"{drive.url}/drive/v3/files/{file_id}",
            params={"supportsAllDrives": "true"},
            json={"trashed": True},
        ).raise_for_status()


def test_a_folder_that_goes_into_the_trash_does_not_take_the_archive_with_it(
    drive: Drive, vault: DriveVault, archive: Archive
) -> None:
    folder_id = vault._files.folder(FOLDERS, vault._patience())
    trash(drive, folder_id)
    kept_once(drive, vault, archive, archive.send(vault))


@pytest.mark.parametrize("after_bytes", [0, 300_000, MIB - 1])
def test_a_reset_in_a_chunk_goes_on_where_it_broke(
    drive: Drive, vault: DriveVault, archive: Archive, after_bytes: int
) -> None:
    drive.fault(method="PUT", path=CHUNK, nth=2, kind="reset", after_bytes=after_bytes)
    kept_once(drive, vault, archive, archive.send(vault))
    assert sum(one.startswith("bytes 0-") for one in ranges_sent(drive)) == 1


def test_only_what_drive_says_it_has_counts(
    drive: Drive, vault: DriveVault, archive: Archive
) -> None:
    drive.fault(method="PUT", path=CHUNK, kind="partial", keep_bytes=512 * 1024)
    kept_once(drive, vault, archive, archive.send(vault))
    assert ranges_sent(drive)[1].startswith(f"bytes {512 * 1024}-")


@pytest.mark.parametrize(("method", "path", "nth"), [("POST", UPLOAD, 1), ("PUT", CHUNK, 4)])
def test_a_lost_reply_keeps_nothing_twice(
    drive: Drive, vault: DriveVault, archive: Archive, method: str, path: str, nth: int
) -> None:
    drive.fault(method=method, path=path, nth=nth, kind="lost_reply")
    kept_once(drive, vault, archive, archive.send(vault))


def test_a_repeat_without_the_session_finds_what_its_id_was_used_for(
    drive: Drive, vault: DriveVault, archive: Archive
) -> None:
    stored = archive.send(vault)
    drive.reset()
    assert archive.send(vault) == stored
    assert [one["status"] for one in drive.log() if one["method"] == "POST"] == [409]
    kept_once(drive, vault, archive, stored)


def test_a_session_that_expired_is_begun_anew(
    drive: Drive, vault: DriveVault, archive: Archive
) -> None:
    kept: list[str | None] = []
    drive.fault(method="PUT", path=CHUNK, nth=2, kind="expire_session")
    kept_once(drive, vault, archive, archive.send(vault, on_progress=lambda u, _n: kept.append(u)))
    assert None in kept
    assert len(set(kept)) == 3


def test_other_bytes_under_its_id_are_never_overwritten(
    drive: Drive, vault: DriveVault, archive: Archive, tmp_path: Path
) -> None:
    stored = archive.send(vault)
    other = Archive(tmp_path / "other", "other.tar.age", archive.reserved_id, 1000)
    with pytest.raises(PermanentError, match="Nothing was overwritten"):
        other.send(vault)
    kept_once(drive, vault, archive, stored)


def test_a_damaged_arrival_goes_to_the_trash_and_is_sent_again(
    drive: Drive, vault: DriveVault, archive: Archive
) -> None:
    kept: list[str | None] = []
    drive.fault(method="PUT", path=CHUNK, nth=2, kind="corrupt")
    with pytest.raises(TransientError, match="not what was sent"):
        archive.send(vault, on_progress=lambda uri, _sent: kept.append(uri))
    assert vault.files() == []
    assert kept[-1] is None
    stored = archive.send(vault)
    assert stored.file_id != archive.reserved_id
    kept_once(drive, vault, archive, stored)
    assert archive.send(vault) == stored  # though its reserved id is that of the damaged one


def test_who_was_killed_after_a_damaged_arrival_sends_it_again(
    drive: Drive, vault: DriveVault, archive: Archive
) -> None:
    kept: list[str | None] = []
    drive.fault(method="PUT", path=CHUNK, nth=2, kind="corrupt")
    with pytest.raises(TransientError):
        archive.send(vault, on_progress=lambda uri, _sent: kept.append(uri))
    # The journal still has the session of the file that is in the trash.
    kept_once(drive, vault, archive, archive.send(vault, session_uri=kept[0]))


def test_an_archive_that_a_person_put_into_the_trash_is_sent_under_another_id(
    drive: Drive, vault: DriveVault, archive: Archive
) -> None:
    first = archive.send(vault)
    trash(drive, first.file_id)
    second = archive.send(vault)
    assert second.file_id != first.file_id
    kept_once(drive, vault, archive, second)


# Download


@pytest.fixture
def sink(tmp_path: Path) -> Path:
    return tmp_path / "sink"


def test_a_download_goes_on_after_what_is_there(
    drive: Drive, vault: DriveVault, archive: Archive, sink: Path
) -> None:
    stored = archive.send(vault)
    sink.write_bytes(archive.path.read_bytes()[: 2 * MIB + 5])
    seen: list[int] = []
    archive.fetch(vault, stored, sink, on_progress=seen.append)
    assert sink.read_bytes() == archive.path.read_bytes()
    assert seen[0] > 2 * MIB + 5
    assert seen[-1] == archive.size
    assert ranges_asked(drive) == [f"bytes={2 * MIB + 5}-"]


def ranges_asked(drive: Drive) -> list[str | None]:
    return [one["range"] for one in drive.log() if one["query"].get("alt") == "media"]


def test_what_is_all_there_is_only_compared(
    drive: Drive, vault: DriveVault, archive: Archive, sink: Path
) -> None:
    stored = archive.send(vault)
    sink.write_bytes(archive.path.read_bytes())
    archive.fetch(vault, stored, sink)
    assert ranges_asked(drive) == []


@pytest.mark.parametrize("after_bytes", [0, 300_000, 2 * MIB])
def test_a_reset_in_a_download_goes_on_where_it_broke(
    drive: Drive, vault: DriveVault, archive: Archive, sink: Path, after_bytes: int
) -> None:
    stored = archive.send(vault)
    drive.fault(method="GET", path=MEDIA, kind="reset", after_bytes=after_bytes)
    archive.fetch(vault, stored, sink)
    assert sink.read_bytes() == archive.path.read_bytes()
    first, second = ranges_asked(drive)
    assert first is None
    # How much of the bytes before a reset still arrives is up to the network.
    assert second is None or 0 < int(second.removeprefix("bytes=")[:-1]) <= after_bytes


def test_a_connection_that_stays_broken_leaves_what_came(
    drive: Drive, vault_of: Make, archive: Archive, sink: Path
) -> None:
    vault = vault_of(patience_s=0)
    stored = archive.send(vault)
    drive.fault(method="GET", path=MEDIA, times=99, kind="reset", after_bytes=2 * MIB)
    with pytest.raises(TransientError, match="the next try goes on after them"):
        archive.fetch(vault, stored, sink)
    assert 0 < sink.stat().st_size <= 2 * MIB
    drive.reset()
    archive.fetch(vault, stored, sink)
    assert sink.read_bytes() == archive.path.read_bytes()


def test_a_byte_damaged_on_the_way_is_fetched_again(
    drive: Drive, vault: DriveVault, archive: Archive, sink: Path
) -> None:
    stored = archive.send(vault)
    drive.fault(method="GET", path=MEDIA, kind="corrupt")
    archive.fetch(vault, stored, sink)
    assert sink.read_bytes() == archive.path.read_bytes()


def test_a_beginning_that_is_not_its_own_is_fetched_again(
    vault: DriveVault, archive: Archive, sink: Path
) -> None:
    stored = archive.send(vault)
    sink.write_bytes(b"x" * MIB)
    archive.fetch(vault, stored, sink)
    assert sink.read_bytes() == archive.path.read_bytes()


def test_a_longer_file_in_its_place_is_fetched_again(
    vault: DriveVault, archive: Archive, sink: Path
) -> None:
    stored = archive.send(vault)
    sink.write_bytes(b"x" * (archive.size + 1))
    archive.fetch(vault, stored, sink)
    assert sink.read_bytes() == archive.path.read_bytes()


def test_bytes_that_are_damaged_each_time_are_refused(
    drive: Drive, vault: DriveVault, archive: Archive, sink: Path
) -> None:
    stored = archive.send(vault)
    drive.fault(method="GET", path=MEDIA, times=9, kind="corrupt")
    with pytest.raises(PermanentError, match="not what was stored"):
        archive.fetch(vault, stored, sink)
    assert not sink.exists()


@pytest.mark.parametrize("at", [0, 2 * MIB, -1])
def test_one_byte_flipped_in_drive_is_seen_however_late_drive_counts_its_sum(
    drive: Drive, vault: DriveVault, archive: Archive, sink: Path, at: int
) -> None:
    stored = archive.send(vault)
    content = drive.directory / "data/content" / stored.file_id
    damaged = bytearray(content.read_bytes())
    damaged[at] ^= 1
    content.write_bytes(damaged)
    with pytest.raises(PermanentError, match="not what was stored"):
        archive.fetch(vault, stored, sink)
    assert not sink.exists()


def test_a_file_that_somebody_replaced_is_not_even_downloaded(
    drive: Drive, vault: DriveVault, archive: Archive, sink: Path, tmp_path: Path
) -> None:
    other = Archive(tmp_path / "other", "other.tar.age", vault.reserve(), archive.size)
    stored = other.send(vault)
    with pytest.raises(PermanentError, match="it is damaged, or somebody replaced it"):
        archive.fetch(vault, stored, sink)
    assert ranges_asked(drive) == []


def test_a_file_that_is_gone_is_said(
    drive: Drive, vault: DriveVault, archive: Archive, sink: Path
) -> None:
    stored = archive.send(vault)
    with drive.session() as session:
        session.delete(
            f"{drive.url}/drive/v3/files/{stored.file_id}", params={"supportsAllDrives": "true"}
        ).raise_for_status()
    for call in (
        lambda: archive.fetch(vault, stored, sink),
        lambda: vault.read(stored.file_id, 9),
    ):
        with pytest.raises(PermanentError, match="not there any more"):
            call()
    assert vault.get(stored.file_id) is None
    vault.trash(stored.file_id)


def test_a_file_that_goes_while_it_is_downloaded_is_said(
    drive: Drive, vault: DriveVault, archive: Archive, sink: Path
) -> None:
    stored = archive.send(vault)
    drive.fault(method="GET", path=MEDIA, kind="reset", after_bytes=MIB)
    drive.fault(method="GET", path=MEDIA, nth=2, kind="status", status=404, reason="notFound")
    with pytest.raises(PermanentError, match="not there any more"):
        archive.fetch(vault, stored, sink)
    assert not sink.exists()


# Both, in another process


WORKER = """
import json, sys
from pathlib import Path
from clinic.clients.drive_vault import DriveVault
from google.oauth2 import service_account
from google.auth.transport.requests import AuthorizedSession

keyfile, url, drive_id, root, call = sys.argv[1:]
credentials = service_account.Credentials.from_service_account_file(
    keyfile, scopes=["https://www.googleapis.com/auth/drive"]
)
vault = DriveVault(
    AuthorizedSession(credentials), root, drive_id=drive_id, endpoint=url, chunk_bytes=1024**2
)
tell = lambda *state: print(json.dumps(state), flush=True)
call = json.loads(call)
if "path" in call:
    vault.upload(Path(call.pop("path")), on_progress=tell, **call)
else:
    vault.download(call.pop("file_id"), Path(call.pop("sink")), on_progress=tell, **call)
"""


def run_until_killed(drive: Drive, root: str, until: int, call: dict[str, Any]) -> list[Any]:
    """Run a call in a process; end it by SIGKILL once so many bytes are there."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(drive.keyfile), drive.url, drive.drive_id, root,
         json.dumps(call)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": "include"},
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert worker.stdout
    for line in worker.stdout:
        state: list[Any] = json.loads(line)
        if state[-1] >= until:
            worker.send_signal(signal.SIGKILL)
            worker.wait(10)
            worker.stdout.close()
            return state
    raise AssertionError("it ended before it was killed")


def test_a_killed_uploads_next_try_goes_on_in_another_process(
    drive: Drive, vault: DriveVault, archive: Archive
) -> None:
    drive.fault(method="PUT", path=CHUNK, nth=3, times=1, kind="delay", delay_s=5)
    call = {
        "path": str(archive.path), "name": archive.name, "folders": FOLDERS,
        "sha256": archive.sha256, "content_type": "application/octet-stream",
        "properties": archive.properties, "reserved_id": archive.reserved_id,
    }  # fmt: skip
    uri, sent = run_until_killed(drive, "/".join(vault._files.root), 2 * MIB, call)
    assert sent == 2 * MIB
    # The emulator died and came back, too.
    drive.kill()
    drive.start()
    seen: list[int] = []
    stored = archive.send(
        vault, session_uri=uri, on_progress=lambda _uri, there: seen.append(there)
    )
    assert min(seen) >= 2 * MIB
    assert ranges_sent(drive)[0] == f"bytes */{archive.size}"
    assert not any(one.startswith("bytes 0-") for one in ranges_sent(drive))
    kept_once(drive, vault, archive, stored)


def test_a_killed_downloads_next_try_goes_on_in_another_process(
    drive: Drive, vault_of: Make, sink: Path, tmp_path: Path
) -> None:
    vault = vault_of()
    archive = Archive(tmp_path / "big", "big.tar.age", vault.reserve(), 40 * MIB)
    stored = archive.send(vault)
    call = {
        "file_id": stored.file_id, "sink": str(sink), "size_bytes": archive.size,
        "sha256": archive.sha256,
    }  # fmt: skip
    run_until_killed(drive, "/".join(vault._files.root), 10 * MIB, call)
    there = sink.stat().st_size
    assert 9 * MIB < there < archive.size
    archive.fetch(vault, stored, sink)
    assert sink.read_bytes() == archive.path.read_bytes()
    assert ranges_asked(drive)[-1] == f"bytes={there}-"


# What is there


def test_files_in_the_trash_are_not_listed(
    drive: Drive, vault: DriveVault, archive: Archive
) -> None:
    stored = archive.send(vault)
    vault.trash(stored.file_id)
    assert vault.files() == []
    assert vault.get(stored.file_id) is None
    vault.trash(stored.file_id)  # again
    with drive.session() as session:  # a person takes it back
        session.patch(
            f"{drive.url}/drive/v3/files/{stored.file_id}",
            params={"supportsAllDrives": "true"},
            json={"trashed": False},
        ).raise_for_status()
    kept_once(drive, vault, archive, stored)


def test_files_of_all_folders_are_listed_and_those_beside_the_root_are_not(
    vault_of: Make, vault: DriveVault, archive: Archive
) -> None:
    stored = archive.send(vault)
    beside = vault_of()
    beside._files.root = (*vault._files.root[:-1], "beside")
    archive.send(beside, reserved_id=beside.reserve())
    for month in range(1, 26):
        vault._files.folder(("odoo", "full", "2025", f"{month:02}"), vault._patience())
    more = [
        vault.upload(
            archive.path, name=f"{month}.tar.age", folders=("odoo", "full", "2025", f"{month:02}"),
            sha256=archive.sha256, content_type="x/y", properties={}, reserved_id=vault.reserve(),
        )
        for month in (1, 22, 25)
    ]  # fmt: skip
    assert {one.file_id for one in vault.files()} == {one.file_id for one in [stored, *more]}


def test_space_is_a_persons_quota(drive: Drive, vault_of: Make, archive: Archive) -> None:
    vault = vault_of(drive.person(), drive_id=None)
    before = vault.space()
    assert before.limit_bytes == 1024 * MIB
    archive.send(vault, reserved_id=vault.reserve())
    assert vault.space().used_bytes == before.used_bytes + archive.size


def test_of_a_shared_drive_the_space_we_use_is_known(vault: DriveVault, archive: Archive) -> None:
    assert (vault.space().used_bytes, vault.space().limit_bytes) == (0, None)
    archive.send(vault)
    assert (vault.space().used_bytes, vault.space().limit_bytes) == (archive.size, None)


def test_check_says_who_and_where(drive: Drive, vault: DriveVault) -> None:
    said = vault.check()
    assert drive.config["service_account"]["client_email"] in said
    assert "Copias/" in said


def test_an_access_that_may_only_read_cannot_put_into_the_trash(
    drive: Drive, vault_of: Make, vault: DriveVault, archive: Archive
) -> None:
    stored = archive.send(vault)
    reader = vault_of(drive.service_account(scope=f"{SCOPE}.readonly"))
    with pytest.raises(TransientError, match="Give the account the right to write"):
        reader.trash(stored.file_id)
    assert vault.get(stored.file_id) == stored


def test_200_mb_take_constant_memory(
    drive: Drive, vault_of: Make, tmp_path: Path, sink: Path
) -> None:
    vault = vault_of(chunk_bytes=32 * MIB)
    big = Archive(tmp_path / "big", "big.tar.age", vault.reserve(), 200 * MIB)
    Archive(tmp_path / "warm", "warm.tar.age", vault.reserve(), MIB).send(vault)
    tracemalloc.start()
    try:
        big.fetch(vault, big.send(vault), sink)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 48 * MIB  # a chunk, and what carries it


def test_no_log_holds_a_token_or_an_uploads_address(
    drive: Drive, vault: DriveVault, archive: Archive, sink: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        drive.fault(method="PUT", path=CHUNK, nth=2, kind="reset", after_bytes=10)
        drive.fault(method="PUT", path=CHUNK, nth=4, kind="status", status=500)
        archive.fetch(vault, archive.send(vault), sink)
    assert "trying again" in caplog.text
    for secret in ("ya29.", "upload_id=", drive.config["admin_token"]):
        assert secret not in caplog.text
