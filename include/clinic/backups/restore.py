"""Restoring a backup: into a database of its own first, compared there, and named only then.

Nothing in use is touched before the archive was read to its last byte, loaded, and every table and
file compared with the manifest. What had the target's name is renamed and kept. Each step may be
killed and done again: the journal in the spool says what is surely done.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

import pyrage
from pydantic import BaseModel, ConfigDict, ValidationError

from clinic.backups.compare import (
    Comparison,
    compare_files,
    compare_identity,
    compare_references,
    compare_tables,
)
from clinic.backups.journal import replace_durably
from clinic.backups.model import TARGET, BackupKind, BackupName, DumpFormat, Manifest
from clinic.backups.unpack import MAX_MANIFEST_BYTES, read_manifest, unpack, unpack_zip
from clinic.backups.vault import Vault, VaultFile
from clinic.errors import ClinicError, PermanentError, TransientError

NEWEST: Final = "newest"
_SPARE_BYTES: Final = 64 * 1024**2
_TOMBSTONE_D: Final = 7


class Databases(Protocol):
    """Where restores go: :class:`clinic.clients.odoo_restore.OdooRestore`."""

    def exists(self, database: str) -> bool: ...  # noqa: D102
    def check_target(self, database: str) -> None: ...  # noqa: D102
    def create(self, database: str) -> None: ...  # noqa: D102
    def drop(self, database: str) -> None: ...  # noqa: D102
    def left_overs(self) -> dict[str, str]: ...  # noqa: D102
    def lock(self, what: str) -> AbstractContextManager[bool]: ...  # noqa: D102
    def load(self, database: str, folder: Path, dump_format: DumpFormat) -> None: ...  # noqa: D102
    def tables(self, database: str) -> dict[str, int]: ...  # noqa: D102
    def facts(self, database: str) -> tuple[str, list[str]]: ...  # noqa: D102
    def files(self, database: str) -> Path: ...  # noqa: D102
    def be_another(self, database: str) -> None: ...  # noqa: D102
    def is_neutralised(self, database: str) -> bool: ...  # noqa: D102
    def still_alive(self, database: str) -> list[str]: ...  # noqa: D102
    def put_files(self, source: Path, database: str) -> None: ...  # noqa: D102
    def add_files(self, source: Path, database: str) -> int: ...  # noqa: D102
    def borrow_files(self, names: Iterable[str], source: str, database: str) -> int: ...  # noqa: D102
    def is_placed(self, scratch: str, target: str) -> bool: ...  # noqa: D102
    def take_name(self, scratch: str, target: str, before: str) -> bool: ...  # noqa: D102


class Program(Protocol):
    """An Odoo that can be run on a restored database."""

    def neutralise(self, database: str) -> None:
        """Turn off what reaches the outside world."""
        ...


class Ledger(Protocol):
    """Where restores are remembered: :class:`clinic.clients.backups_db.BackupsDb`."""

    def step_restore(self, restore_id: UUID) -> None: ...  # noqa: D102
    def running_restores(self) -> list[dict[str, Any]]: ...  # noqa: D102


class Stage(IntEnum):
    """The last thing that is surely done."""

    BEGUN = 0
    UNPACKED = 1
    LOADED = 2
    FILED = 3
    COMPARED = 4
    NEUTRALISED = 5
    PLACED = 6


class Journal(BaseModel):
    """What the next try has to know, and what the report says."""

    model_config = ConfigDict(extra="forbid")

    restore_id: UUID
    backup_id: UUID
    target: str
    neutralise: bool
    stage: Stage = Stage.BEGUN
    before: str
    """What the old database is called then, if there is one."""
    replaced: bool = False
    borrowed: int = 0
    added: int = 0
    began_at: datetime
    seconds: dict[str, float] = {}
    compared: dict[str, Any] = {}
    notes: list[str] = []


@dataclass(frozen=True, slots=True)
class Found:
    """A backup in the vault."""

    archive: VaultFile
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be restored, and where to.

    Attributes:
        restore_id: Which restore; a later try of it goes on where an earlier one was killed.
        target: The database's name in the end.
        neutralise: Whether it is cut off from the outside world; None: if it is a copy, which it is
            under any name but its own.
        may_replace: Whether a database of this name may be set aside.
    """

    restore_id: UUID
    target: str
    neutralise: bool | None = None
    may_replace: bool = False


def _ignore(*_: Any) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class Tell:
    """Who is told how it goes: each step as a sentence, and bytes as they go by."""

    step: Callable[[str], None] = _ignore
    progress: Callable[[str, int, int], None] = _ignore
    """What, how many bytes of how many."""


# Finding one


def find(vault: Vault, name: str, database: str | None = None) -> Found:
    """Find a backup in the vault, which knows everything without a database of ours.

    Args:
        vault: Where to look.
        name: Its name, or ``newest``: the newest full one.
        database: Of which database ``newest`` is meant; None where there is one only.

    Raises:
        PermanentError: There is no such backup, or its manifest is damaged.
        TransientError: The vault is out of reach.
    """
    backups = listed(vault)
    if name == NEWEST:
        full = [
            one
            for one in backups
            if one.kind is BackupKind.FULL and database in {None, one.database}
        ]
        if not full:
            raise PermanentError(f"There is no full backup of {database or 'Odoo'} in the vault.")
        if len({one.database for one in full}) > 1:
            raise PermanentError(
                "The vault has backups of several databases "
                f"({', '.join(sorted({one.database for one in full}))}): say of which you want the "
                "newest."
            )
        wanted = full[0]
    else:
        parsed = BackupName.parse(name)
        if parsed is None or parsed not in backups:
            newest = ", ".join(str(one) for one in list(backups)[:3]) or "none at all"
            raise PermanentError(f"There is no backup {name!r} in the vault; the newest: {newest}.")
        wanted = parsed
    archive, manifest = backups[wanted]
    return opened(vault, archive, manifest)


def listed(vault: Vault) -> dict[BackupName, tuple[VaultFile, VaultFile]]:
    """Return every backup of the vault, the newest first: its archive and its manifest."""
    files: dict[BackupName, dict[str, VaultFile]] = {}
    for file in vault.files():
        if name := BackupName.parse(file.name):
            files.setdefault(name, {})[file.name] = file
    whole = {
        name: (pair[name.archive], pair[name.manifest])
        for name, pair in files.items()
        if name.archive in pair and name.manifest in pair
    }
    return dict(sorted(whole.items(), key=lambda item: item[0].taken_at, reverse=True))


def opened(vault: Vault, archive: VaultFile, manifest_file: VaultFile) -> Found:
    """Read a backup's manifest, and compare it with what the vault says of both files.

    Raises:
        PermanentError: They do not belong together, or the manifest is damaged.
    """
    name = archive.name.removesuffix(".tar.age")
    content = vault.read(manifest_file.file_id, MAX_MANIFEST_BYTES)
    sha256 = hashlib.sha256(content).hexdigest()
    told = {manifest_file.sha256, manifest_file.properties.get("clinic_sha256")} - {None}
    if told != {sha256}:
        raise PermanentError(
            f"Reading the manifest of {name}: its bytes are not those that were stored (sha256 "
            f"{sha256}). Nothing was changed. It is damaged: choose another backup."
        )
    manifest = read_manifest(content, name)
    kept = archive.properties.get("clinic_sha256")
    if archive.size_bytes != manifest.encrypted_size_bytes or manifest.encrypted_sha256 not in {
        kept or manifest.encrypted_sha256
    }:
        raise PermanentError(
            f"Opening {name}: the archive is not the one that its manifest describes. Nothing was "
            "changed; choose another backup."
        )
    return Found(archive, manifest)


def choice(name: str, taken_at: datetime, size_bytes: int) -> str:
    """Return a backup as a person chooses it from a list."""
    return f"{name} ({taken_at:%Y-%m-%d %H:%M} UTC, {size_bytes / 1024**2:.1f} MB)"


# Restoring it


class Restore:
    """One restore, or one drill's, which ends before anything takes a name.

    Args:
        found: The backup.
        vault: Where it lies.
        identity: The private key of one of its recipients.
        wish: What is to be restored, and where to.
        databases: The server and the filestores that it goes to.
        program: The Odoo that neutralises it.
        spool: The folder of all restores' spools.
        ledger: Where it is remembered; None on the day when that is gone.
        tell: Who is told how it goes.
        scratch: The name of the database meanwhile; None for the target's with an ending.
    """

    def __init__(
        self,
        found: Found,
        vault: Vault,
        identity: pyrage.x25519.Identity,
        wish: Wish,
        databases: Databases,
        program: Program,
        spool: Path,
        *,
        ledger: Ledger | None = None,
        tell: Tell | None = None,
        scratch: str | None = None,
    ) -> None:
        self.manifest = found.manifest
        self._found = found
        self._vault = vault
        self._identity = identity
        self._wish = wish
        self._databases = databases
        self._program = program
        self._root = spool
        self._ledger = ledger
        self._tell = tell or Tell()
        self.folder = spool / str(wish.restore_id)
        self._archive = self.folder / "archive.tar.age"
        self._contents = self.folder / "contents"
        self._file = self.folder / "journal.json"
        self.scratch = scratch or f"{wish.target}_restoring_{wish.restore_id.hex[:8]}"
        if not TARGET.fullmatch(wish.target):
            raise PermanentError(
                f"{wish.target!r} is no name for a restored database: up to 39 lower case letters, "
                "digits, - and _, the first of them no sign."
            )
        is_copy = wish.target != self.manifest.database
        self.journal = self._read() or Journal(
            restore_id=wish.restore_id,
            backup_id=self.manifest.backup_id,
            target=wish.target,
            neutralise=is_copy if wish.neutralise is None else wish.neutralise,
            before=f"{wish.target}_before_{datetime.now(UTC):%Y%m%dT%H%M%SZ}".lower(),
            began_at=datetime.now(UTC),
        )

    def _read(self) -> Journal | None:
        try:
            known = Journal.model_validate_json(self._file.read_bytes())
        except (FileNotFoundError, ValidationError):  # none, or of another version: start anew
            return None
        mine = (known.backup_id, known.target) == (self.manifest.backup_id, self._wish.target)
        return known if mine else None

    def run(self) -> dict[str, Any]:
        """Restore, and return the report. After a kill, this goes on with what is surely done.

        Raises:
            TransientError: Trying again may help, and goes on from there.
            PermanentError: It cannot be restored so; nothing in use was changed.
        """
        with self.alone():
            self.sweep()
            if self.journal.stage < Stage.PLACED:
                try:
                    self.fill()
                    self._neutralise()
                except PermanentError:
                    self._give_up()
                    raise
                self._place()
            self._shred()
            return self.report()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others away from this restore and from its target."""
        with (
            self._databases.lock(self._wish.restore_id.hex[:8]) as is_mine,
            self._databases.lock(f"target {self._wish.target}") as is_free,
        ):
            if not is_mine or not is_free:
                raise TransientError(
                    f"Restoring {self.manifest.name} as {self._wish.target}: another process "
                    "restores to this name. Wait until it ends, or end it."
                )
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            yield

    def sweep(self) -> None:
        """Remove what restores left behind that are over: databases, filestores, spools."""
        at_work = {self._wish.restore_id.hex[:8]}
        if self._ledger:
            at_work |= {
                UUID(str(row["restore_id"])).hex[:8] for row in self._ledger.running_restores()
            }
        for name, owner in self._databases.left_overs().items():
            if owner not in at_work:
                with self._databases.lock(owner) as is_over:
                    if is_over:
                        self._tell.step(f"removing {name}, which an earlier restore left behind")
                        self._databases.drop(name.removesuffix(".part"))
        for folder in self._root.glob("????????-*"):
            if folder.name[:8] in at_work:
                continue
            with self._databases.lock(folder.name[:8]) as is_over:
                if is_over and not _is_tombstone(folder):
                    shutil.rmtree(folder, ignore_errors=True)

    def _give_up(self) -> None:
        """Remove what no later try can go on with; the archive stays, for another key perhaps."""
        self._drop_scratch()
        shutil.rmtree(self._contents, ignore_errors=True)
        self._at(Stage.BEGUN)

    def _drop_scratch(self) -> None:
        with suppress(ClinicError):  # what went wrong before is what has to be known
            self._databases.drop(self.scratch)

    def fill(self) -> None:
        """Download, open, load and compare, into the scratch database.

        Raises:
            PermanentError: It differs from what was backed up, and says in what.
        """
        if self.manifest.kind is BackupKind.FILESTORE:
            self._require_target()
        else:
            self._check_target()
        self.load_all()
        if self.journal.stage < Stage.COMPARED and self.manifest.kind is not BackupKind.FILESTORE:
            self._compare()

    def load_all(self) -> None:
        """Download and open it, and load its database and files; nothing is compared yet."""
        has_database = self.manifest.kind is not BackupKind.FILESTORE
        if self._lost_its_scratch(has_database):
            # Another restore took it for a left-over between two tries.
            shutil.rmtree(self._contents, ignore_errors=True)
            self._at(Stage.BEGUN)
        if self.journal.stage < Stage.UNPACKED:
            self._download()
            self._unpack()
        if self.journal.stage < Stage.LOADED:
            if has_database:
                self._load()
            self._at(Stage.LOADED)
        if self.journal.stage < Stage.FILED:
            if has_database:
                self._put_files()
            self._at(Stage.FILED)

    def _lost_its_scratch(self, has_database: bool) -> bool:
        if not has_database or not Stage.LOADED <= self.journal.stage <= Stage.NEUTRALISED:
            return False
        is_placed = self.journal.stage == Stage.NEUTRALISED and self._databases.is_placed(
            self.scratch, self._wish.target
        )
        return not is_placed and not self._databases.exists(self.scratch)

    def _require_target(self) -> None:
        target = self._wish.target
        self._databases.check_target(target)
        if not self._databases.exists(target):
            raise PermanentError(
                f"{self.manifest.name} holds files only, which go into the filestore of a database "
                f"that is there, and there is no database {target}. Nothing was changed. Name the "
                "database whose files are lost; if that is lost, too, restore it first, from a "
                "backup of it."
            )

    def _check_target(self) -> None:
        """Look before hours of work whether the target can be had in the end."""
        target = self._wish.target
        self._databases.check_target(target)
        # Without a journal that came so far, it is what the same command made another day.
        is_mine = self.journal.stage >= Stage.NEUTRALISED
        if is_mine and self._databases.is_placed(self.scratch, target):
            return
        if self._databases.exists(target) and not self._wish.may_replace:
            raise PermanentError(
                f"There is a database {target} already. Nothing was changed. Choose another name, "
                "or approve that it is renamed and kept (--replace)."
            )

    def _download(self) -> None:
        size_bytes = self.manifest.encrypted_size_bytes
        with self.step("download", f"downloading {self.manifest.name}"):
            known = self._archive.stat().st_size if self._archive.exists() else 0
            needed = size_bytes - known + self.manifest.size_bytes + _SPARE_BYTES
            if self.manifest.dump_format is DumpFormat.ZIP and self.manifest.filestore:
                needed += self.manifest.filestore.size_bytes  # they come out of the zip file, too
            free = shutil.disk_usage(self.folder).free
            if free < needed:
                raise TransientError(
                    f"Restoring {self.manifest.name}: {self._root} has {free / 1024**2:.0f} MB "
                    f"free, and {needed / 1024**2:.0f} MB are needed to download and open it. Make "
                    "room there."
                )
            self._vault.download(
                self._found.archive.file_id,
                self._archive,
                size_bytes=size_bytes,
                sha256=self.manifest.encrypted_sha256,
                on_progress=lambda done: self._tell.progress("downloaded", done, size_bytes),
            )

    def _unpack(self) -> None:
        size_bytes = self.manifest.size_bytes
        with self.step("open", "decrypting, unpacking and comparing the sums"):
            shutil.rmtree(self._contents, ignore_errors=True)
            unpack(
                self._archive,
                self.manifest,
                self._identity,
                self._contents,
                lambda done: self._tell.progress("opened", done, size_bytes),
            )
            self._at(Stage.UNPACKED)
            self._archive.unlink(missing_ok=True)

    def _load(self) -> None:
        with self.step("load", f"loading the database, as {self.scratch}"):
            try:
                self._databases.create(self.scratch)
                self._databases.load(self.scratch, self._contents, self.manifest.dump_format)
            except Exception:
                self._drop_scratch()  # half of a clinic's data, of no use to the next try
                raise

    def _put_files(self) -> None:
        with self.step("files", "putting the files into place"):
            if self.manifest.dump_format is DumpFormat.ZIP and self._wants_unzipping():
                unpack_zip(self._contents, self.manifest.name)
            self._databases.put_files(self._contents / "filestore", self.scratch)
            if self.manifest.filestore is None:
                _, names = self._databases.facts(self.scratch)
                for source in dict.fromkeys((self._wish.target, self.manifest.database)):
                    self.journal.borrowed += self._databases.borrow_files(
                        names, source, self.scratch
                    )

    def _wants_unzipping(self) -> bool:
        """Say whether the files are still in the zip file, not on their way or there."""
        return not self._databases.files(self.scratch).exists()

    def _compare(self) -> None:
        with self.step("compare", "comparing every table and file with the manifest"):
            found = self.compare()
            self.journal.compared = found.as_json()
            if found.differences:
                self._write()
                raise PermanentError(
                    f"Restoring {self.manifest.name}: what was restored differs from what was "
                    f"backed up: {'; '.join(map(str, found.differences[:5]))}"
                    f"{' …' if len(found.differences) > 5 else ''}. Nothing in use was changed."
                )
            self._at(Stage.COMPARED)

    def compare(self) -> Comparison:
        """Compare every table's rows and every file's content with the manifest."""
        found = Comparison()
        compare_tables(self.manifest.tables, self._databases.tables(self.scratch), found)
        uuid, names = self._databases.facts(self.scratch)
        compare_identity(self.manifest, uuid, found)
        files = self._databases.files(self.scratch)
        if self.manifest.filestore is not None:
            compare_files(self.manifest.filestore, files, found)
            compare_references(names, self.manifest.filestore, files, found)
        else:
            absent = sum(not (files / name).is_file() for name in set(names))
            self.note(
                f"This backup is of the database only: {self.journal.borrowed} files were taken "
                f"over from the filestore that is here, {absent} are missing."
            )
        return found

    def _neutralise(self) -> None:
        if self.manifest.kind is BackupKind.FILESTORE or self.journal.stage >= Stage.NEUTRALISED:
            return
        if self.journal.neutralise:
            self.neutralise()
        self._at(Stage.NEUTRALISED)

    def neutralise(self) -> None:
        """Cut the copy off from the outside world, and look whether it is.

        Raises:
            PermanentError: Something is still on.
        """
        with self.step("neutralise", "neutralising: no mail, no jobs, no outside connections"):
            if not self._databases.is_neutralised(self.scratch):
                self._program.neutralise(self.scratch)
            self._databases.be_another(self.scratch)
            if alive := self._databases.still_alive(self.scratch):
                raise PermanentError(
                    f"Neutralising {self.scratch}: still on afterwards: {', '.join(alive[:5])}. It "
                    f"did not take the name {self._wish.target}. Has an addon no neutralize.sql?"
                )

    def _place(self) -> None:
        target = self._wish.target
        if self.manifest.kind is BackupKind.FILESTORE:
            with self.step("files", f"adding files to the filestore of {target}"):
                self._add_files(target)
                self._at(Stage.PLACED)
            return
        self._check_target()  # perhaps somebody has made one meanwhile
        with self.step("name", f"giving it the name {target}"):
            self.journal.replaced = self._databases.take_name(
                self.scratch, target, self.journal.before
            )
            self._at(Stage.PLACED)

    def _add_files(self, target: str) -> None:
        """Put back what is lost or damaged of a filestore in use; nothing is taken away there."""
        source = self._contents / "filestore"
        found = Comparison()
        if self.manifest.filestore:
            compare_files(self.manifest.filestore, source, found)
            self.journal.compared = found.as_json()
        self.journal.added += self._databases.add_files(source, target)
        files = self._databases.files(target)
        _, names = self._databases.facts(target)
        absent = sorted(name for name in set(names) if not (files / name).is_file())
        self.note(
            f"This backup is of files only: {self.journal.added} that were missing or damaged in "
            f"the filestore of {target} were put back, the others left as they are. Its database "
            "was not touched."
        )
        if absent:
            self.note(
                f"{len(absent)} files that {target} refers to are neither there nor in this "
                f"backup: {', '.join(absent[:3])}{' …' if len(absent) > 3 else ''}. Try another "
                "backup for those."
            )

    def note(self, text: str) -> None:
        """Keep a sentence for the report."""
        if text not in self.journal.notes:
            self.journal.notes.append(text)

    def _shred(self) -> None:
        """Leave nothing in the spool but the journal, for a repeat of the last try."""
        shutil.rmtree(self._contents, ignore_errors=True)
        self._archive.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove the spool: whoever restores this again begins anew."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def step(self, name: str, sentence: str) -> Iterator[None]:
        """Do one step: it is told, timed and remembered."""
        if self._ledger:
            self._ledger.step_restore(self._wish.restore_id)
        self._tell.step(sentence)
        began = time.monotonic()
        try:
            yield
        finally:
            took_s = time.monotonic() - began
            self.journal.seconds[name] = round(self.journal.seconds.get(name, 0) + took_s, 3)
            self._write()

    def _at(self, stage: Stage) -> None:
        self.journal.stage = stage
        self._write()

    def _write(self) -> None:
        if self.folder.is_dir():
            replace_durably(self._file, self.journal.model_dump_json().encode())

    def report(self) -> dict[str, Any]:
        """Return what was done, for machines."""
        manifest, journal = self.manifest, self.journal
        return {
            "restore_id": str(journal.restore_id),
            "backup_id": str(manifest.backup_id),
            "backup": manifest.name,
            "kind": manifest.kind.value,
            "taken_at": manifest.taken_at.isoformat(),
            "source_database": manifest.database,
            "odoo_version": manifest.odoo_version,
            "target": journal.target,
            "set_aside_as": journal.before if journal.replaced else None,
            "neutralised": journal.neutralise and manifest.kind is not BackupKind.FILESTORE,
            "missing_when_backed_up": list(manifest.filestore.missing)
            if manifest.filestore
            else [],
            "compared": journal.compared,
            "notes": journal.notes,
            "began_at": journal.began_at.isoformat(),
            "seconds": journal.seconds,
            "total_s": round(sum(journal.seconds.values()), 1),
        }


def as_text(report: Mapping[str, Any]) -> str:
    """Return a report as a person reads it."""
    compared = report["compared"]
    if report["kind"] == BackupKind.FILESTORE:
        place = f"into      the filestore of {report['target']}"
    else:
        how = "neutralised" if report["neutralised"] else "as it was"
        place = f"as        {report['target']}, {how}"
    lines = [
        f"Restored  {report['backup']} ({report['kind']}, taken at {report['taken_at']})",
        place,
    ]
    if compared:
        lines.append(
            f"compared  {compared['tables']} tables with {compared['rows']} rows, "
            f"{compared['files']} files with {compared['files_bytes'] / 1024**2:.1f} MB: "
            + (f"{len(compared['differences'])} differ" if compared["differences"] else "all equal")
        )
    if report["set_aside_as"]:
        lines.append(f"kept      what was there before is {report['set_aside_as']}")
    if missing := report["missing_when_backed_up"]:
        lines.append(f"missing   {len(missing)} files were not there when it was backed up")
    lines += [f"note      {note}" for note in report["notes"]]
    steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in report["seconds"].items())
    lines.append(f"time      {report['total_s']:.1f} s ({steps})")
    return "\n".join(lines)


def _is_tombstone(folder: Path) -> bool:
    """Say whether a spool is that of a restore that ended well not long ago."""
    journal = folder / "journal.json"
    try:
        is_young = time.time() - journal.stat().st_mtime < _TOMBSTONE_D * 86400
        known = Journal.model_validate_json(journal.read_bytes())
    except (OSError, ValidationError):
        return False
    return is_young and known.stage is Stage.PLACED
