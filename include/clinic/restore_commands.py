"""``clinic restore``: for the day when Airflow and the shared database are gone."""

from __future__ import annotations

import getpass
import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import NAMESPACE_URL, UUID, uuid5

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)

from clinic.backups import restore as use_case
from clinic.backups.restore import Restore, Tell, Wish
from clinic.backups.unpack import parse_identity
from clinic.clients.backups_db import BackupsDb
from clinic.clients.drive_files import GOOGLE
from clinic.clients.drive_login import DriveLogin
from clinic.clients.odoo_process import OdooProgram
from clinic.clients.odoo_restore import OdooRestore
from clinic.errors import ClinicError, PermanentError

_SPOOL = Path("~/.local/state/clinic/restores")


def restore(
    from_drive: Annotated[
        str,
        typer.Option(help="Name of a backup, `newest`, or `list` to see which there are."),
    ],
    identity: Annotated[
        Path | None, typer.Option(help="File with the private key (AGE-SECRET-KEY-…).")
    ] = None,
    target: Annotated[str, typer.Option(help="The restored database's name.")] = "",
    odoo_database_url: Annotated[
        str,
        typer.Option(
            envvar="ODOO_DB_URL",
            help="postgresql:// address of any database there, as the role that owns Odoo's.",
            show_default=False,
        ),
    ] = "",
    filestore: Annotated[
        Path | None,
        typer.Option(envvar="ODOO_FILESTORE", help="Folder that holds <database>/ab/abcd…"),
    ] = None,
    odoo_command: Annotated[
        str,
        typer.Option(envvar="ODOO_COMMAND", help="What starts Odoo, with its -c."),
    ] = "",
    database: Annotated[
        str | None, typer.Option(help="Of which database `newest` is meant.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Rename a database of this name, and keep it.")
    ] = False,
    neutralise: Annotated[
        bool | None,
        typer.Option(
            help="Cut it off from the outside world; by default under any name but its own.",
            show_default=False,
        ),
    ] = None,
    drive_connection: Annotated[
        str,
        typer.Option(
            envvar="AIRFLOW_CONN_GOOGLE_CLOUD_DRIVE",
            help="The connection's JSON, as Airflow exports it; only by the environment.",
            show_default=False,
            hidden=True,  # a command line is shown to everybody
        ),
    ] = "",
    drive_key: Annotated[
        Path | None, typer.Option(envvar="DRIVE_KEYFILE", help="Key file that Google handed out.")
    ] = None,
    drive_id: Annotated[
        str | None, typer.Option(envvar="DRIVE_SHARED_DRIVE_ID", help="Id of the shared drive.")
    ] = None,
    drive_api: Annotated[
        str, typer.Option(envvar="DRIVE_API_URL", help="Address of Drive's API.")
    ] = GOOGLE,
    folder: Annotated[str, typer.Option(help="Folder of the backups in Drive.")] = "Clinica/Copias",
    shared_db_url: Annotated[
        str,
        typer.Option(
            envvar="SHARED_DB_SYNC_URL",
            help="postgresql:// address, as clinica_sync, if that database is there: no backup "
            "expires while it is being restored.",
            show_default=False,
        ),
    ] = "",
    spool: Annotated[
        Path, typer.Option(envvar="CLINIC_RESTORE_SPOOL", help="Room for the archive, twice.")
    ] = _SPOOL,
    report: Annotated[Path | None, typer.Option(help="Write the report there, as JSON.")] = None,
) -> None:
    """Restore a backup of Odoo from the vault; neither Airflow nor the shared database is needed.

    Where the shared database can be reached, the restore has its row there, as one by Airflow has.

    It goes into a database of its own, is compared with its manifest table by table and file by
    file, and takes its name only then; what has the name is renamed and kept. Killed, it goes on
    where it was when it is run again with the same words.
    """
    console = Console()
    login = (
        DriveLogin.from_connection(drive_connection)
        if drive_connection
        else DriveLogin.from_key_file(_given(drive_key, "--drive-key"), drive_id, drive_api)
    )
    with closing(login.vault(folder)) as vault:
        if from_drive == "list":
            for name, (archive, _) in use_case.listed(vault).items():
                console.print(
                    use_case.choice(str(name), name.taken_at, archive.size_bytes), highlight=False
                )
            return
        key = parse_identity(_given(identity, "--identity").read_text())
        found = use_case.find(vault, from_drive, database)
        words = f"x-clinica://restore/{found.manifest.backup_id}/{target}/{neutralise}"
        wish = Wish(uuid5(NAMESPACE_URL, words), target, neutralise, may_replace=replace)
        root = spool.expanduser()
        work = root / str(wish.restore_id)
        with _bars(console) as (tell, progress), _memory(shared_db_url, tell.step) as memory:
            memory.start(wish, found.manifest.backup_id)
            job = Restore(
                found,
                vault,
                key,
                wish,
                OdooRestore(
                    _given(odoo_database_url, "--odoo-database-url"),
                    _given(filestore, "--filestore"),
                ),
                OdooProgram(_command(odoo_command), work / "odoo"),
                root,
                ledger=memory,
                tell=tell,
            )
            try:
                done = job.run()
            except ClinicError as error:
                memory.finish(wish, error=str(error))
                raise
            memory.finish(wish, report=done)
            progress.stop()
        if report:
            report.write_text(json.dumps(done, indent=1) + "\n")
        job.forget()
    console.print(use_case.as_text(done), highlight=False, soft_wrap=True)


class _Memory:
    """The restore's row in the shared database, for as long as that answers.

    Expiry and the restores of Airflow look there. Without it a restore goes on all the same: it is
    perhaps the shared database whose server has to be made anew.
    """

    def __init__(self, ledger: BackupsDb | None, warn: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._warn = warn
        if ledger is None:
            self._give_up("SHARED_DB_SYNC_URL is not set.")

    def start(self, wish: Wish, backup_id: UUID) -> None:
        """Write the row."""
        self._try(
            lambda ledger: ledger.start_restore(
                wish.restore_id,
                backup_id,
                purpose="restore",
                target=wish.target,
                requested_by=getpass.getuser(),
            )
        )

    def step_restore(self, restore_id: UUID) -> None:
        """Note that it is still at work."""
        self._try(lambda ledger: ledger.step_restore(restore_id))

    def running_restores(self) -> list[dict[str, Any]]:
        """Return the restores at work, as far as they are known."""
        return self._try(lambda ledger: ledger.running_restores()) or []

    def finish(
        self, wish: Wish, *, error: str | None = None, report: Mapping[str, Any] | None = None
    ) -> None:
        """Keep what became of it."""
        self._try(lambda ledger: ledger.finish_restore(wish.restore_id, error=error, report=report))

    def _try[T](self, do: Callable[[BackupsDb], T]) -> T | None:
        if self._ledger is None:
            return None
        try:
            return do(self._ledger)
        except ClinicError as error:
            self._give_up(str(error))
            return None

    def _give_up(self, why: str) -> None:
        self._ledger = None
        self._warn(
            f"warning: the shared database does not know of this restore. {why} The restore goes "
            "on; until it ends, pause expire_backups in Airflow, if that runs."
        )


@contextmanager
def _memory(url: str, warn: Callable[[str], None]) -> Iterator[_Memory]:
    if not url:
        yield _Memory(None, warn)
        return
    with closing(BackupsDb(url)) as ledger:
        yield _Memory(ledger, warn)


def _given[T](value: T | None, option: str) -> T:
    if not value:
        raise PermanentError(f"Restoring a backup: {option} is missing. See clinic restore --help.")
    return value


def _command(text: str) -> list[str]:
    if text:
        return shlex.split(text)
    conf = os.environ.get("ODOO_CONF")
    return ["odoo", "-c", conf] if conf else ["odoo"]


@contextmanager
def _bars(console: Console) -> Iterator[tuple[Tell, Progress]]:
    """Show each step as a line, and a bar where bytes go by."""
    columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), console=console) as progress:
        bars: dict[str, TaskID] = {}

        def step(sentence: str) -> None:
            console.print(f"{datetime.now(UTC):%H:%M:%S}  {sentence}", highlight=False)

        def bytes_done(what: str, done: int, of: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=of)
            progress.update(bars[what], completed=done)

        yield Tell(step, bytes_done), progress
