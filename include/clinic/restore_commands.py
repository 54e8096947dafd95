"""``clinic restore``: for the day when Airflow and the shared database are gone."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import NAMESPACE_URL, uuid5

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
from clinic.clients.drive_files import GOOGLE
from clinic.clients.drive_login import DriveLogin
from clinic.clients.odoo_process import OdooProgram
from clinic.clients.odoo_restore import OdooRestore
from clinic.errors import PermanentError

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
    spool: Annotated[
        Path, typer.Option(envvar="CLINIC_RESTORE_SPOOL", help="Room for the archive, twice.")
    ] = _SPOOL,
    report: Annotated[Path | None, typer.Option(help="Write the report there, as JSON.")] = None,
) -> None:
    """Restore a backup of Odoo from the vault; neither Airflow nor the shared database is needed.

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
        with _bars(console) as (tell, progress):
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
                tell=tell,
            )
            done = job.run()
            progress.stop()
        if report:
            report.write_text(json.dumps(done, indent=1) + "\n")
        job.forget()
    console.print(use_case.as_text(done), highlight=False, soft_wrap=True)


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
