"""``clinic backup``: take one, list them, make a key, and list again what lies in the vault."""

from __future__ import annotations

import getpass
import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import typer
from psycopg.conninfo import conninfo_to_dict

from clinic.backups import adopt as adopting
from clinic.backups.keys import DrillKeys, new_pair
from clinic.backups.model import BackupKind
from clinic.backups.request import Request
from clinic.backups.take import Take
from clinic.clients.backups_db import BackupsDb
from clinic.clients.drive_files import GOOGLE
from clinic.clients.drive_login import DriveLogin
from clinic.clients.drive_vault import DriveVault
from clinic.clients.odoo_dump_postgres import PostgresDumpSource
from clinic.errors import PermanentError
from clinic.tables import print_table, readable_size

app = typer.Typer(help="Backups of Odoo.", no_args_is_help=True)

SharedUrl = Annotated[
    str,
    typer.Option(
        envvar="SHARED_DB_SYNC_URL",
        help="postgresql:// address, as clinica_sync.",
        show_default=False,
    ),
]
DriveKey = Annotated[
    Path | None,
    typer.Option(envvar="DRIVE_KEYFILE", help="Key file that Google handed out."),
]
DriveId = Annotated[
    str | None, typer.Option(envvar="DRIVE_SHARED_DRIVE_ID", help="Id of the shared drive.")
]
DriveApi = Annotated[str, typer.Option(envvar="DRIVE_API_URL", help="Address of Drive's API.")]
Folder = Annotated[str, typer.Option(help="Folder of the backups in Drive.")]
FOLDER = "Clinica/Copias"


@app.command()
def run(
    shared_db_url: SharedUrl,
    odoo_database_url: Annotated[
        str,
        typer.Option(
            envvar="ODOO_DB_URL",
            help="postgresql:// address of Odoo's database, as its owner.",
            show_default=False,
        ),
    ],
    filestore: Annotated[
        Path,
        typer.Option(
            envvar="ODOO_FILESTORE",
            help="Folder that holds <database>/ab/abcd…",
            show_default=False,
        ),
    ],
    home: Annotated[
        Path,
        typer.Option(
            envvar="CLINIC_AIRFLOW_HOME",
            help="Airflow's folder: its spool, and the keys of its drills.",
            show_default=False,
        ),
    ],
    kind: Annotated[BackupKind, typer.Option(help="What to back up.")] = BackupKind.FULL,
    note: Annotated[str, typer.Option(help="Why; kept with the backup.")] = "",
    recipient: Annotated[
        list[str] | None,
        typer.Option(help="Public key (age1…) that it is encrypted for; may be given again."),
    ] = None,
    identity_file: Annotated[
        Path | None,
        typer.Option(
            envvar="BACKUP_IDENTITY_FILE",
            help="File of `clinic backup new-key`, of which only the public key is read.",
        ),
    ] = None,
    go_on: Annotated[
        UUID | None, typer.Option("--continue", help="Id of a backup that failed.")
    ] = None,
    drive_key: DriveKey = None,
    drive_id: DriveId = None,
    drive_api: DriveApi = GOOGLE,
    folder: Folder = FOLDER,
) -> None:
    """Take a backup, as the DAG backup_odoo does, without Airflow."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    recipients = recipient or _recipients(identity_file)
    backup_id = go_on or uuid4()
    database = str(conninfo_to_dict(odoo_database_url).get("dbname", ""))
    source = PostgresDumpSource(odoo_database_url, filestore / database)
    with (
        closing(BackupsDb(shared_db_url)) as ledger,
        _vault(drive_key, drive_id, drive_api, folder) as vault,
    ):
        take = Take(
            ledger,
            source,
            vault,
            recipients,
            home / "spool" / "backups",
            DrillKeys(home / "backup_keys"),
        )
        typer.echo(f"Backup {backup_id} (--continue goes on with it)")
        done = take.run(backup_id, Request(kind=kind, note=note, requested_by=getpass.getuser()))
    size = f"{readable_size(done['size_bytes'])} ({done['size_bytes']} bytes)"
    typer.echo(f"{done['name']}\n{size}\n{done['url']}")


@app.command("list")
def list_backups(
    shared_db_url: SharedUrl,
    most: Annotated[int, typer.Option(min=1, help="Not more than so many, the newest.")] = 20,
) -> None:
    """List the newest attempts and what became of them."""
    with closing(BackupsDb(shared_db_url)) as ledger:
        rows = ledger.recent(most)
    print_table(
        ("taken at (UTC)", "state", "kind", "name", "size", "asked for by", "error"),
        [
            (
                (row["taken_at"] or row["started_at"]).isoformat(" ", "seconds")[:19],
                row["state"],
                row["kind"],
                row["name"] or row["backup_id"],
                readable_size(row["size_bytes"]) if row["size_bytes"] else None,
                row["requested_by"],
                row["error"],
            )
            for row in rows
        ],
    )


@app.command("new-key")
def new_key(
    file: Annotated[Path, typer.Argument(help="A new file, for the private key.")],
) -> None:
    """Make a pair of keys: the private one into a file, the public one onto the screen."""
    identity, recipient = new_pair()
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise PermanentError(
            f"Making a key: {file} is there already, and may open backups that are kept. Name "
            "another file."
        ) from None
    except OSError as error:
        raise PermanentError(f"Making a key: writing {file}: {error.strerror}.") from None
    with os.fdopen(descriptor, "w") as text:
        text.write(f"# public key: {recipient}\n{identity}\n")
    typer.echo(
        f"{recipient}\nPut it into the Variable clinic_backup_settings (recipients), and {file} "
        "into a safe: without it nobody opens a backup."
    )


@app.command()
def adopt(
    shared_db_url: SharedUrl,
    drive_key: DriveKey = None,
    drive_id: DriveId = None,
    drive_api: DriveApi = GOOGLE,
    folder: Folder = FOLDER,
) -> None:
    """List again the backups that lie in the vault, when the shared database was lost."""
    with (
        closing(BackupsDb(shared_db_url)) as ledger,
        _vault(drive_key, drive_id, drive_api, folder) as vault,
    ):
        found = adopting.adopt(ledger, vault)
    for what, names in (("listed", found.listed), ("known", found.known), ("no", found.refused)):
        for name in names:
            typer.echo(f"{what:7} {name}")
    typer.echo(f"{len(found.listed)} listed again, {len(found.known)} were known.")


def _recipients(identity_file: Path | None) -> list[str]:
    """Return the public keys that a file of private keys names in its comments."""
    mark = "# public key: "
    lines = identity_file.read_text().splitlines() if identity_file else []
    found = [line.removeprefix(mark) for line in lines if line.startswith(mark)]
    if not found:
        raise PermanentError(
            "Taking a backup: for whom is it encrypted? Give --recipient age1…; `clinic backup "
            "new-key` makes a pair of keys."
        )
    return found


@contextmanager
def _vault(key: Path | None, drive_id: str | None, api: str, folder: str) -> Iterator[DriveVault]:
    if key is None:
        raise PermanentError(
            "Reaching Google Drive: --drive-key is missing, the key file that Google handed out."
        )
    with closing(DriveLogin.from_key_file(key, drive_id, api).vault(folder)) as vault:
        yield vault
