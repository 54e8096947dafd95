"""Taking a backup: dump, encrypt, upload, compare, and only then call it one.

Each step is kept in the journal once it is done, so that a process may be killed at any moment: the
next try with the same id goes on with what is whole, and throws away what is not.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

from clinic.backups.archive import write_archive
from clinic.backups.journal import (
    Journal,
    Spool,
    Stage,
    left_over,
    opened,
    replace_durably,
)
from clinic.backups.keys import DrillKeys
from clinic.backups.model import BackupKind, BackupName, Contents, Manifest
from clinic.backups.request import Request
from clinic.backups.source import DumpSource, Snapshot, StaleDumpError
from clinic.backups.vault import Vault, VaultFile
from clinic.errors import ClinicError, PermanentError, TransientError

log = logging.getLogger(__name__)

ARCHIVE_TYPE: Final = "application/octet-stream"
MANIFEST_TYPE: Final = "application/json"


class Ledger(Protocol):
    """Where it is remembered: :class:`clinic.clients.backups_db.BackupsDb`."""

    def begin(
        self,
        backup_id: UUID,
        *,
        database: str,
        kind: BackupKind,
        requested_by: str,
        note: str,
        run_id: str,
        request_id: UUID | None,
    ) -> bool:
        """Become the only one who takes a backup; False when this one is stored already."""
        ...

    def failed(self, backup_id: UUID, error: str) -> None:
        """Keep why it was not stored."""
        ...

    def upsert_from_manifest(
        self, manifest: Manifest, *, vault: str, file_id: str, manifest_file_id: str, url: str
    ) -> None:
        """Keep that it is stored."""
        ...

    def get(self, backup_id: UUID) -> dict[str, Any] | None:
        """Return what is known of a backup."""
        ...

    def newest_stored(self, database: str, kind: BackupKind) -> dict[str, Any] | None:
        """Return the newest stored backup of a database and kind."""
        ...


class Take:
    """Takes backups of one Odoo into one vault.

    Args:
        ledger: Where it is remembered.
        source: The Odoo.
        vault: Where archives go.
        recipients: Public keys that archives are encrypted for.
        spool: Where there is room for a dump and an archive.
        drill_keys: Keys of full backups, for drills.
    """

    def __init__(
        self,
        ledger: Ledger,
        source: DumpSource,
        vault: Vault,
        recipients: Sequence[str],
        spool: Path,
        drill_keys: DrillKeys,
    ) -> None:
        self._ledger = ledger
        self._source = source
        self._vault = vault
        self._recipients = recipients
        self._root = spool
        self._drill_keys = drill_keys
        self._took_s: dict[str, float] = {}

    def run(
        self,
        backup_id: UUID,
        request: Request,
        run_id: str = "",
        *,
        on_begun: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Take a backup, or go on with one; done again it changes nothing.

        Args:
            backup_id: What it is known by.
            request: What is asked for.
            run_id: The run of the DAG.
            on_begun: Called once the ledger has it as under way; raises nothing.

        Returns:
            What is stored where; nothing secret.

        Raises:
            TransientError: Trying again with the same id may help, and goes on.
            PermanentError: A person has to change something.
        """
        is_new = self._ledger.begin(
            backup_id,
            database=self._source.database,
            kind=request.kind,
            requested_by=request.requested_by,
            note=request.note,
            run_id=run_id,
            request_id=request.request_id,
        )
        if not is_new:
            log.info("backup %s is stored already", backup_id)
            return self._outcome(backup_id)
        if on_begun is not None:
            on_begun()
        try:
            self._sweep(backup_id)
            with opened(self._root, backup_id) as spool:
                self._steps(spool, backup_id, request)
        except (ClinicError, OSError) as error:
            known = _of_disk(error, self._root) if isinstance(error, OSError) else error
            with contextlib.suppress(ClinicError):  # the error itself is what has to be known
                self._ledger.failed(backup_id, str(known))
            if known is error:
                raise
            raise known from error
        return self._outcome(backup_id)

    def _outcome(self, backup_id: UUID) -> dict[str, Any]:
        row = self._ledger.get(backup_id) or {}
        told = ("name", "state", "url", "size_bytes", "encrypted_sha256")
        return {"backup_id": str(backup_id)} | {key: row.get(key) for key in told}

    def _steps(self, spool: Spool, backup_id: UUID, request: Request) -> None:
        if not spool.is_of_this_boot and not self._is_there(spool.journal.manifest_id):
            log.info("the machine was started anew meanwhile: beginning from the beginning")
            self._trash(spool.journal)
            spool.begin_anew()
        if spool.journal.stage is Stage.BEGUN:
            with self._timed("dump"):
                self._dump(spool, backup_id, request)
        if spool.journal.stage is Stage.DUMPED:
            try:
                with self._timed("encrypt"):
                    self._encrypt(spool)
            except StaleDumpError:
                spool.begin_anew()
                raise
        if spool.journal.stage is Stage.ENCRYPTED or not self._is_there(spool.journal.archive_id):
            with self._timed("upload"):
                self._upload(spool)
        if spool.journal.stage is Stage.UPLOADED or not self._is_there(spool.journal.manifest_id):
            with self._timed("manifest"):
                self._upload_manifest(spool)
        self._keep(spool.journal)
        spool.remove()
        # Verifying goes on beside encrypting; what an earlier try did is not among them.
        log.info("took: %s", " ".join(f"{one}_s={s:.1f}" for one, s in self._took_s.items()))

    @contextlib.contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._took_s[step] = time.monotonic() - started

    def _trash(self, journal: Journal) -> None:
        """Take back what was uploaded of a backup that will not be one."""
        for file_id in (journal.manifest_id, journal.archive_id):
            if file_id is not None:
                self._vault.trash(file_id)

    def _is_there(self, file_id: str | None) -> bool:
        """Whether what an earlier try uploaded is still there: much may have happened since."""
        return file_id is not None and self._vault.get(file_id) is not None

    # The steps

    def _dump(self, spool: Spool, backup_id: UUID, request: Request) -> None:
        spool.begin_anew()
        self._make_room(request.kind)
        # A new name each time: what a killed process still writes ends in a folder that is gone.
        folder = spool.folder / f"dump-{uuid4().hex[:8]}"
        folder.mkdir(mode=0o700)
        log.info("dumping: database=%s kind=%s", self._source.database, request.kind)
        snapshot = self._source.dump(request.kind, folder, spool.names)
        contents = _contents(snapshot, backup_id, request, self._source.name)
        if contents.filestore and contents.filestore.missing:
            log.warning(
                "%d files that the database refers to are not in the filestore, and not in the "
                "backup, the first of them: %s",
                len(contents.filestore.missing),
                ", ".join(contents.filestore.missing[:3]),
            )
        spool.journal = Journal(stage=Stage.DUMPED, dump_folder=folder.name, contents=contents)
        spool.write()

    def _make_room(self, kind: BackupKind) -> None:
        needed = self._source.needed_bytes(kind)
        free = shutil.disk_usage(self._root).free
        if needed is not None and free < needed:
            raise TransientError(
                f"Taking a backup: {self._root} has {_size(free)} free, and up to {_size(needed)} "
                "may be needed for the dump and the archive. Make room there, or give the spool "
                "another disk."
            )

    def _encrypt(self, spool: Spool) -> None:
        contents, dump = spool.journal.contents, spool.journal.dump_folder
        assert contents is not None
        assert dump is not None
        recipients = list(self._recipients)
        if contents.kind is BackupKind.FULL:
            recipients.append(self._drill_keys.new(contents.backup_id))
        log.info("encrypting: name=%s", contents.name)
        with self._verifying(spool.folder / dump, contents.tables):
            sums = write_archive(
                spool.archive,
                recipients,
                contents=contents.model_dump_json(indent=1).encode(),
                dump=spool.folder / dump,
                names=spool.names,
                file=self._source.file,
                taken_at=contents.taken_at,
            )
        manifest = Manifest(
            **contents.model_dump(),
            size_bytes=sums.size_bytes,
            sha256=sums.sha256,
            encrypted_size_bytes=sums.encrypted_size_bytes,
            encrypted_sha256=sums.encrypted_sha256,
            recipients=tuple(recipients),
        )
        spool.journal = Journal(stage=Stage.ENCRYPTED, manifest=manifest)
        spool.write()
        shutil.rmtree(spool.folder / dump, ignore_errors=True)

    @contextlib.contextmanager
    def _verifying(self, dump: Path, tables: Mapping[str, int]) -> Iterator[None]:
        """Read the dump back beside what is done inside, which counts only if it was whole.

        Raises:
            StaleDumpError: It was not; whatever happened inside is of no interest then.
        """

        def verify() -> None:
            with self._timed("verify"):
                self._source.verify(dump, tables)

        with ThreadPoolExecutor(1, "verify") as beside:
            verified = beside.submit(verify)
            try:
                yield
            finally:
                try:
                    verified.result()
                except TransientError as error:
                    raise StaleDumpError(str(error)) from error

    def _upload(self, spool: Spool) -> None:
        journal, manifest = spool.journal, _known(spool.journal.manifest)
        name = _known(BackupName.parse(manifest.name))
        if journal.archive_id is None:
            journal.archive_id = self._vault.reserve()
            spool.write()

        def keep(session_uri: str | None, _sent_bytes: int) -> None:
            if session_uri != journal.session_uri:
                journal.session_uri = session_uri
                spool.write()

        log.info("uploading: name=%s bytes=%d", name.archive, manifest.encrypted_size_bytes)
        file = self._vault.upload(
            spool.archive,
            name=name.archive,
            folders=name.folders,
            sha256=manifest.encrypted_sha256,
            content_type=ARCHIVE_TYPE,
            properties=_properties(manifest.backup_id, manifest.encrypted_sha256),
            reserved_id=journal.archive_id,
            session_uri=journal.session_uri,
            on_progress=keep,
        )
        _compare(file, manifest.encrypted_size_bytes, manifest.encrypted_sha256)
        journal.stage, journal.session_uri = Stage.UPLOADED, None
        # Not always the id that was reserved: a person may have deleted that one.
        journal.archive_id, journal.url = file.file_id, file.url
        spool.write()

    def _upload_manifest(self, spool: Spool) -> None:
        journal, manifest = spool.journal, _known(spool.journal.manifest)
        if journal.manifest_id is None:
            journal.manifest_id = self._vault.reserve()
            spool.write()
        name = _known(BackupName.parse(manifest.name))
        file = upload_manifest(self._vault, manifest, name, spool.manifest, journal.manifest_id)
        journal.stage, journal.manifest_id = Stage.MANIFEST_UPLOADED, file.file_id
        spool.write()

    def _keep(self, journal: Journal) -> None:
        manifest = _known(journal.manifest)
        self._ledger.upsert_from_manifest(
            manifest,
            vault=self._vault.name,
            file_id=_known(journal.archive_id),
            manifest_file_id=_known(journal.manifest_id),
            url=_known(journal.url),
        )
        newest = self._ledger.newest_stored(manifest.database, BackupKind.FULL)
        if newest is not None:
            self._drill_keys.keep_only({newest["backup_id"]})
        log.info("stored: name=%s url=%s", manifest.name, journal.url)

    # What earlier runs left

    def _sweep(self, backup_id: UUID) -> None:
        """Clean up after runs that are over: none of them goes on once another has begun."""
        with left_over(self._root, backup_id) as spools:
            for spool in spools:
                journal = spool.journal
                row = self._ledger.get(UUID(spool.folder.name))
                if row is not None and row["state"] in {"stored", "expired"}:
                    pass  # it was killed one moment before the end
                elif journal.stage is Stage.MANIFEST_UPLOADED and self._is_there(
                    journal.manifest_id
                ):
                    self._keep(journal)  # it was killed two moments before
                else:
                    self._trash(journal)
                log.info("swept what an earlier run left: %s", spool.folder.name)
                spool.remove()


def upload_manifest(
    vault: Vault, manifest: Manifest, name: BackupName, path: Path, reserved_id: str
) -> VaultFile:
    """Upload a manifest beside its archive; the backup is one from then on."""
    content = manifest.model_dump_json(indent=1).encode() + b"\n"
    replace_durably(path, content)
    sha256 = hashlib.sha256(content).hexdigest()
    file = vault.upload(
        path,
        name=name.manifest,
        folders=name.folders,
        sha256=sha256,
        content_type=MANIFEST_TYPE,
        properties=_properties(manifest.backup_id, sha256),
        reserved_id=reserved_id,
    )
    _compare(file, len(content), sha256)
    return file


def _properties(backup_id: UUID, sha256: str) -> dict[str, str]:
    return {"clinic_backup": str(backup_id), "clinic_sha256": sha256}


def _compare(file: VaultFile, size_bytes: int, sha256: str) -> None:
    if file.size_bytes != size_bytes or file.sha256 not in {None, sha256}:
        raise TransientError(
            f"Comparing {file.name} in the vault: it has {file.size_bytes} bytes and the sum "
            f"{file.sha256}; {size_bytes} bytes and {sha256} were sent. The next try sends it "
            "again."
        )


def _contents(snapshot: Snapshot, backup_id: UUID, request: Request, source: Any) -> Contents:
    name = BackupName.of(snapshot.database, request.kind, snapshot.taken_at, backup_id)
    if BackupName.parse(str(name)) != name:
        raise PermanentError(
            f"Taking a backup of database {snapshot.database!r}: its name cannot be part of a "
            "backup's. Use a-z, 0-9, _ and -, beginning with a letter or a digit."
        )
    return Contents(
        backup_id=backup_id,
        name=str(name),
        kind=request.kind,
        database=snapshot.database,
        database_uuid=snapshot.database_uuid,
        taken_at=snapshot.taken_at,
        source=source,
        dump_format=snapshot.dump_format,
        odoo_version=snapshot.odoo_version,
        postgres_version=snapshot.postgres_version,
        modules=dict(snapshot.modules),
        tables=dict(snapshot.tables),
        filestore=snapshot.filestore,
        tools=dict(snapshot.tools),
        requested_by=request.requested_by,
        note=request.note,
    )


def _known[T](value: T | None) -> T:
    assert value is not None, "the journal's stage says that it is known"
    return value


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _of_disk(error: OSError, spool: Path) -> TransientError:
    return TransientError(
        f"Taking a backup in {spool}: {error.strerror or error}. Is the disk full, or the folder "
        "not Airflow's? The next try goes on with what is whole."
    )
