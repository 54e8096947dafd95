"""Backups between real systems: an Odoo's database and files, the shared database, and a vault.

``python -m support.backups RIG [DIE_AT]`` takes the backup that RIG, a JSON file, describes in a
process of its own, which kills itself with SIGKILL when it comes to the step DIE_AT: right after
it, or before it when its name ends in -ing. It prints what came of it as a line of JSON.
"""

import hashlib
import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pyrage
from clinic.backups import take as taking
from clinic.backups.journal import Spool, Stage
from clinic.backups.keys import DrillKeys, new_pair
from clinic.backups.model import BackupKind
from clinic.backups.request import Request
from clinic.backups.take import Take
from clinic.backups.unpack import parse_identity
from clinic.clients.backups_db import BackupsDb
from clinic.clients.drive_vault import DriveVault
from clinic.clients.odoo_dump_postgres import PostgresDumpSource
from clinic.errors import ClinicError
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import service_account
from support.drive import SCOPE, Drive
from support.postgres import PostgresCluster, copy_database
from support.stack_env import ROOT, needed

FOLDER = "Clinica/Copias"


@dataclass(frozen=True)
class BackupRig:
    """Where everything is; can be handed to another process."""

    odoo_url: str
    filestore: str
    shared_url: str
    drive_url: str
    drive_keyfile: str
    drive_id: str
    spool: str
    keys: str
    recipient: str
    backup_id: str = ""
    kind: str = "full"
    patience_s: float = 20
    chunk_bytes: int = 1024 * 1024

    def new(self, kind: BackupKind = BackupKind.FULL) -> "BackupRig":
        """The same place, for another backup."""
        return replace(self, backup_id=str(uuid4()), kind=kind.value)

    @property
    def id(self) -> UUID:
        return UUID(self.backup_id)

    @property
    def spool_folder(self) -> Path:
        return Path(self.spool) / self.backup_id

    def vault(self) -> DriveVault:
        credentials = service_account.Credentials.from_service_account_file(
            self.drive_keyfile, scopes=[SCOPE]
        )
        return DriveVault(
            AuthorizedSession(credentials, max_refresh_attempts=1),
            FOLDER,
            drive_id=self.drive_id,
            endpoint=self.drive_url,
            patience_s=self.patience_s,
            chunk_bytes=self.chunk_bytes,
        )

    def ledger(self) -> BackupsDb:
        return BackupsDb(self.shared_url)

    def source(self) -> PostgresDumpSource:
        return PostgresDumpSource(self.odoo_url, Path(self.filestore))

    def take(self, source: Any = None) -> dict[str, Any]:
        """Take it in this process."""
        with closing(self.ledger()) as ledger, closing(self.vault()) as vault:
            return Take(
                ledger,
                source or self.source(),
                vault,
                [self.recipient],
                Path(self.spool),
                DrillKeys(Path(self.keys)),
            ).run(self.id, Request(kind=BackupKind(self.kind), note="a test"), "run")

    def start(self, *die_at: str, limit_bytes: int | None = None) -> subprocess.Popen[str]:
        """Take it in another process."""
        file = Path(self.spool).parent / f"{self.backup_id}.rig.json"
        file.write_text(json.dumps(asdict(self)))
        return subprocess.Popen(
            [sys.executable, "-m", "support.backups", str(file), *die_at],
            stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": f"{os.environ['PYTHONPATH']}:{ROOT / 'tests'}"},
            preexec_fn=_limited(limit_bytes) if limit_bytes else None,
        )  # fmt: skip


def _limited(size_bytes: int) -> Callable[[], None]:
    """No file may grow beyond this: what a full disk does, for one process and its children."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


STEPS = (
    "beginning", "begun", "dumping", "dumped", "noting_dump", "encrypting", "verifying",
    "encrypted", "reserved", "uploading", "uploaded", "manifest_uploading", "manifest_uploaded",
    "keeping", "kept",
)  # fmt: skip


def _dying(step: str, call: Callable[..., Any], on_call: int = 1) -> Callable[..., Any]:
    count = 0

    def last(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count < on_call:
            return call(*args, **kwargs)
        if not step.endswith("ing"):
            call(*args, **kwargs)
        print(step, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    return last


def arm(step: str) -> None:
    """Have this process kill itself at a step."""
    victims: dict[str, tuple[Any, str, int]] = {
        "beginning": (BackupsDb, "begin", 1),
        "begun": (BackupsDb, "begin", 1),
        "dumping": (PostgresDumpSource, "_name_files", 1),  # pg_dump goes on
        "dumped": (PostgresDumpSource, "dump", 1),
        "encrypting": (taking, "write_archive", 1),
        "verifying": (PostgresDumpSource, "read_back", 1),  # while it is encrypted
        "encrypted": (taking, "write_archive", 1),
        "reserved": (DriveVault, "reserve", 1),
        "uploading": (DriveVault, "upload", 1),
        "uploaded": (DriveVault, "upload", 1),
        "manifest_uploading": (DriveVault, "upload", 2),
        "manifest_uploaded": (DriveVault, "upload", 2),
        "keeping": (BackupsDb, "upsert_from_manifest", 1),
        "kept": (BackupsDb, "upsert_from_manifest", 1),
    }
    if step == "noting_dump":  # half of what the next try needs is on disk
        write = Spool.write

        def dying(self: Spool) -> None:
            if self.journal.stage is Stage.DUMPED:
                print(step, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            write(self)

        Spool.write = dying  # type: ignore[method-assign]
        return
    victim, name, on_call = victims[step]
    setattr(victim, name, _dying(step, getattr(victim, name), on_call))


def arm_at_bytes(sent_bytes: int) -> None:
    """Have this process kill itself once so many bytes of the archive are in the vault."""
    upload = DriveVault.upload

    def watched(self: DriveVault, path: Path, **arguments: Any) -> Any:
        keep = arguments.pop("on_progress", None)

        def told(session_uri: str | None, sent: int) -> None:
            if keep:
                keep(session_uri, sent)
            if sent >= sent_bytes:
                print(f"sent {sent}", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)

        return upload(self, path, on_progress=told, **arguments)

    DriveVault.upload = watched  # type: ignore[method-assign]


def fill_filestore(odoo_url: str, folder: Path, contents: list[bytes]) -> list[str]:
    """Give Odoo attachments with these contents, as it would keep them; return their names."""
    names = []
    with psycopg.connect(odoo_url) as connection:
        for number, content in enumerate(contents):
            sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            name = f"{sha1[:2]}/{sha1}"
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            connection.execute(
                "INSERT INTO ir_attachment (name, type, store_fname, file_size, checksum)"
                " VALUES (%s, 'binary', %s, %s, %s)",
                [f"test {number}", name, len(content), sha1],
            )
            names.append(name)
    return names


@contextmanager
def odoo_copy(folder: Path) -> Iterator[tuple[PostgresCluster, str, Path]]:
    """Copy the stack's Odoo into a PostgreSQL of one's own; yield it, a name, and the files."""
    cluster = PostgresCluster(folder / "postgres")
    cluster.start()
    try:
        with cluster.connect("postgres") as connection:
            connection.execute(
                psycopg.sql.SQL("CREATE ROLE odoo LOGIN CREATEDB PASSWORD {}").format(
                    cluster.password
                )
            )
        copy_database(needed("ODOO_DB_URL"), cluster, "odoo", folder)
        filestore = folder / "filestore"
        shutil.copytree(Path(needed("ODOO_FILESTORE")) / needed("ODOO_DB"), filestore)
        yield cluster, "odoo", filestore
    finally:
        cluster.stop()


@contextmanager
def backup_rig(
    folder: Path, odoo: tuple[PostgresCluster, str, Path], drive: Drive, shared_url: str
) -> Iterator[BackupRig]:
    """Yield what backs this Odoo up into this Drive; what is put there goes at the end."""
    cluster, name, filestore = odoo
    identity, recipient = new_pair()
    (folder / "identity.txt").write_text(identity)
    rig = BackupRig(
        odoo_url=cluster.url(name),
        filestore=str(filestore),
        shared_url=shared_url,
        drive_url=drive.url,
        drive_keyfile=str(drive.keyfile),
        drive_id=drive.drive_id,
        spool=str(folder / "spool"),
        keys=str(folder / "keys"),
        recipient=recipient,
    ).new()
    drive.reset()
    yield rig
    drive.reset()
    with closing(rig.vault()) as vault:
        for file in vault.files():
            vault.trash(file.file_id)


def restorable(rig: BackupRig, folder: Path) -> dict[str, Any]:
    """Download a stored backup, open it with the person's key, and read it to its end.

    Every table's rows and every file's hash are compared with the manifest, which is returned.
    """
    with closing(rig.ledger()) as ledger, closing(rig.vault()) as vault:
        row = ledger.get(rig.id)
        assert row is not None
        assert row["state"] == "stored"
        told: dict[str, Any] = json.loads(vault.read(row["manifest_file_id"], 10**7))
        assert told == row["manifest"]
        archive, plain = folder / f"{rig.id}.age", folder / f"{rig.id}.tar"
        vault.download(
            row["file_id"], archive, size_bytes=row["size_bytes"], sha256=row["encrypted_sha256"]
        )
    identity = parse_identity((folder / "identity.txt").read_text())
    pyrage.decrypt_file(str(archive), str(plain), [identity])
    assert plain.stat().st_size == told["size_bytes"]
    with plain.open("rb") as content:
        assert hashlib.file_digest(content, "sha256").hexdigest() == told["sha256"]
    opened = folder / f"{rig.id}"
    with tarfile.open(plain) as tar:
        tar.extractall(opened, filter="data")
    if told["dump_format"] == "zip":
        with zipfile.ZipFile(opened / "odoo.zip") as dump:
            assert dump.testzip() is None
            dump.extractall(opened, [one for one in dump.namelist() if "filestore/" in one])
    elif told["tables"]:
        rig.source().read_back(opened / "database", told["tables"])
    names = sorted(
        path.relative_to(opened / "filestore").as_posix() for path in opened.glob("filestore/??/*")
    )
    for name in names:
        content = (opened / "filestore" / name).read_bytes()
        assert hashlib.sha1(content, usedforsecurity=False).hexdigest() == name[3:]
    if told["filestore"]:
        assert len(names) == told["filestore"]["files"]
        listed = "".join(f"{name}\n" for name in names).encode()
        assert hashlib.sha256(listed).hexdigest() == told["filestore"]["names_sha256"]
    return told


class Took(logging.Handler):
    """Remembers how long each step took, as the log says it."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("took: "):
            for part in record.getMessage().split()[1:]:
                name, seconds = part.split("_s=")
                self.steps[name] = float(seconds)


def main(arguments: list[str]) -> int:
    took = Took()
    logging.basicConfig(level=logging.INFO, handlers=[logging.StreamHandler(), took])
    rig = BackupRig(**json.loads(Path(arguments[0]).read_text()))
    if len(arguments) > 1:
        if arguments[1].startswith("sent="):
            arm_at_bytes(int(arguments[1].removeprefix("sent=")))
        else:
            arm(arguments[1])
    try:
        told = rig.take()
    except ClinicError as error:
        print(json.dumps({"error": str(error), "kind": type(error).__name__}))
        return 1
    measured = {"peak_rss_bytes": _peak_rss_bytes(), "took_s": took.steps}
    print(json.dumps(told | measured, default=str))
    return 0


def _peak_rss_bytes() -> int:
    """Return this program's own peak: getrusage would count its parent's before the exec."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
