"""Odoo's own database manager as the source: a real Odoo, and what it answers when it cannot."""

import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from clinic.backups.model import BackupKind, DumpFormat
from clinic.backups.source import Snapshot
from clinic.clients.odoo_dump_http import HttpDumpSource
from clinic.errors import PermanentError, TransientError
from support.backups import BackupRig, restorable
from support.managed_odoo import ManagedOdoo, managed_odoo
from support.postgres import PostgresCluster

pytestmark = pytest.mark.stack

MASTER = "the master password of this test"


@pytest.fixture(scope="module")
def managed(
    odoo: tuple[PostgresCluster, str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ManagedOdoo]:
    with managed_odoo(odoo, tmp_path_factory.mktemp("managed"), MASTER) as server:
        yield server


def dumped(source: HttpDumpSource, kind: BackupKind, folder: Path) -> Snapshot:
    folder = folder / "dump"
    folder.mkdir(exist_ok=True)
    return source.dump(kind, folder, folder.parent / "names")


def test_a_zip_says_what_the_database_itself_says(
    managed: ManagedOdoo, rig: BackupRig, tmp_path: Path
) -> None:
    found = dumped(HttpDumpSource(managed.url, "odoo", MASTER), BackupKind.FULL, tmp_path)

    direct = tmp_path / "direct"
    direct.mkdir()
    known = rig.source().dump(BackupKind.FULL, direct, tmp_path / "direct.names")
    assert found.dump_format is DumpFormat.ZIP
    assert found.database_uuid == known.database_uuid
    assert found.modules == known.modules
    assert (found.odoo_version, found.postgres_version) == (
        known.odoo_version,
        known.postgres_version,
    )
    # Odoo goes on while they are made: a job's line more or less.
    differ = {
        table
        for table in {*found.tables, *known.tables}
        if found.tables.get(table) != known.tables.get(table)
    }
    assert len(known.tables) > 300
    assert len(differ) < 5, differ
    assert found.filestore is not None
    assert known.filestore is not None
    assert found.filestore.files >= known.filestore.files > 100
    assert found.filestore.missing == known.filestore.missing


def test_a_dump_without_files(managed: ManagedOdoo, tmp_path: Path) -> None:
    found = dumped(HttpDumpSource(managed.url, "odoo", MASTER), BackupKind.DATABASE, tmp_path)
    assert found.dump_format is DumpFormat.CUSTOM
    assert found.filestore is None
    assert found.tables["public.res_users"] > 2
    assert found.database_uuid
    assert found.modules["base"].startswith(found.odoo_version)


def test_it_goes_all_the_way_to_the_vault(
    managed: ManagedOdoo, rig: BackupRig, tmp_path: Path
) -> None:
    rig.take(HttpDumpSource(managed.url, "odoo", MASTER))
    manifest = restorable(rig, tmp_path)
    assert (manifest["source"], manifest["dump_format"]) == ("http", "zip")


@pytest.mark.parametrize(
    ("database", "password", "kind", "said"),
    [
        ("odoo", "not-that-one", BackupKind.FULL, "master password is wrong"),
        ("odoo", "not-that-one", BackupKind.DATABASE, "master password is wrong"),
        ("another", MASTER, BackupKind.FULL, "has no database 'another'"),
        ("odoo", MASTER, BackupKind.FILESTORE, "filestore alone"),
    ],
)
def test_what_a_person_has_to_put_right(
    managed: ManagedOdoo, tmp_path: Path, database: str, password: str, kind: BackupKind, said: str
) -> None:
    with pytest.raises(PermanentError, match=said) as caught:
        dumped(HttpDumpSource(managed.url, database, password), kind, tmp_path)
    assert password not in str(caught.value)


def test_a_database_manager_that_is_switched_off(
    odoo: tuple[PostgresCluster, str, Path], tmp_path: Path
) -> None:
    cluster, name, _ = odoo
    server = ManagedOdoo(cluster, name, tmp_path / "closed", workers=0)
    server.manage(MASTER, list_db=False)
    server.start()
    try:
        with pytest.raises(PermanentError, match="list_db"):
            dumped(HttpDumpSource(server.url, name, MASTER), BackupKind.FULL, tmp_path)
    finally:
        server.stop()


# What a real Odoo does only when it is ended at the right moment, said by a server of our own.


@pytest.fixture
def answering() -> Iterator[tuple[str, dict[str, object]]]:
    told: dict[str, object] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(int(str(told.get("status", 200))))
            self.send_header("Content-Type", str(told["type"]))
            self.end_headers()  # HTTP/1.0: the end is where the connection ends
            self.wfile.write(bytes(told["body"]))  # type: ignore[call-overload]

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", told
    server.shutdown()
    server.server_close()
    thread.join()


def real_zip(managed: ManagedOdoo, folder: Path) -> bytes:
    dumped(HttpDumpSource(managed.url, "odoo", MASTER), BackupKind.FULL, folder)
    return (folder / "dump" / "odoo.zip").read_bytes()


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99, "last byte"])
def test_a_zip_that_is_cut_off_is_no_dump(
    managed: ManagedOdoo,
    answering: tuple[str, dict[str, object]],
    part: float | str,
    tmp_path: Path,
) -> None:
    url, told = answering
    whole = real_zip(managed, tmp_path)
    end = len(whole) - 1 if isinstance(part, str) else int(len(whole) * part)
    told |= {"type": "application/octet-stream; charset=binary", "body": whole[:end]}
    with pytest.raises(TransientError, match="cut off"):
        dumped(HttpDumpSource(url, "odoo", MASTER), BackupKind.FULL, tmp_path)


def test_a_zip_with_another_byte_is_no_dump(
    managed: ManagedOdoo, answering: tuple[str, dict[str, object]], tmp_path: Path
) -> None:
    url, told = answering
    whole = bytearray(real_zip(managed, tmp_path))
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        member = max(archive.infolist(), key=lambda one: one.compress_size)
    whole[member.header_offset + 200] ^= 1
    told |= {"type": "application/octet-stream", "body": bytes(whole)}
    with pytest.raises(TransientError, match="damaged"):
        dumped(HttpDumpSource(url, "odoo", MASTER), BackupKind.FULL, tmp_path)


def test_a_custom_dump_that_is_cut_off_is_no_dump(
    managed: ManagedOdoo, answering: tuple[str, dict[str, object]], tmp_path: Path
) -> None:
    url, told = answering
    dumped(HttpDumpSource(managed.url, "odoo", MASTER), BackupKind.DATABASE, tmp_path)
    whole = (tmp_path / "dump" / "database.dump").read_bytes()
    told |= {"type": "application/octet-stream", "body": whole[: len(whole) * 99 // 100]}
    with pytest.raises(TransientError, match="Reading the dump back"):
        dumped(HttpDumpSource(url, "odoo", MASTER), BackupKind.DATABASE, tmp_path)


@pytest.mark.parametrize(
    ("status", "kind", "body", "error", "said"),
    [
        (200, "application/octet-stream", b"", TransientError, "sent nothing"),
        (502, "text/html", b"<h1>Bad gateway</h1>", TransientError, "502"),
        (200, "text/html", b"<h1>A login page</h1>", PermanentError, "no dump"),
        (
            200, "text/html", b"Database backup error: Command &#39;pg_dump&#39; failed</p>",
            TransientError, "'pg_dump' failed",
        ),
    ],
)  # fmt: skip
def test_what_is_no_dump_is_said(
    answering: tuple[str, dict[str, object]], tmp_path: Path,
    status: int, kind: str, body: bytes, error: type[Exception], said: str,
) -> None:  # fmt: skip
    url, told = answering
    told |= {"status": status, "type": kind, "body": body}
    with pytest.raises(error, match=said):
        dumped(HttpDumpSource(url, "odoo", MASTER), BackupKind.FULL, tmp_path)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="ConnectError"):
        dumped(HttpDumpSource("http://127.0.0.1:9", "odoo", MASTER), BackupKind.FULL, tmp_path)
