"""``clinic drive``: let the clinic into a Google Drive, and find out what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from clinic.clients.drive_check import check_drive
from clinic.clients.drive_consent import authorize as ask_for_consent
from clinic.clients.drive_files import GOOGLE
from clinic.clients.drive_login import DriveLogin
from clinic.errors import PermanentError

app = typer.Typer(help="Access to Google Drive.", no_args_is_help=True)

KeyFile = Annotated[
    Path | None, typer.Option(envvar="DRIVE_KEYFILE", help="Key file that Google handed out.")
]
DriveId = Annotated[
    str | None, typer.Option(envvar="DRIVE_SHARED_DRIVE_ID", help="Id of the shared drive.")
]
Delegate = Annotated[
    str | None, typer.Option(help="In whose name a service account acts: their address.")
]
Api = Annotated[str, typer.Option(envvar="DRIVE_API_URL", help="Address of Drive's API.")]
Connection = Annotated[
    str | None,
    typer.Option(
        envvar="AIRFLOW_CONN_GOOGLE_CLOUD_DRIVE",
        help="Instead of all these: the connection as Airflow exports it (JSON).",
        show_envvar=True,
        show_default=False,
    ),
]


@app.command()
def check(
    key_file: KeyFile = None,
    drive_id: DriveId = None,
    delegate: Delegate = None,
    api: Api = GOOGLE,
    connection: Connection = None,
    folder: Annotated[str, typer.Option(help="Where files go.")] = "Clinica/Copias",
) -> None:
    """Say what is wrong: clock, key and its age, login and scope, space, the folder."""
    if connection:
        login = DriveLogin.from_connection(connection)
    elif key_file:
        read = DriveLogin.from_key_file(key_file, drive_id, api)
        login = DriveLogin(read.key, read.drive_id, read.endpoint, delegate)
    else:
        raise PermanentError(
            "Checking Google Drive: --key-file is missing, the file that Google, or `clinic drive "
            "authorize`, handed out."
        )
    console = Console(soft_wrap=True)
    is_good = True
    for finding in check_drive(login, folder):
        mark = Text("ok " if finding.is_good else "NO ", "green" if finding.is_good else "bold red")
        console.print(mark.append(f"{finding.about:8}{finding.text}", "default"))
        is_good &= finding.is_good
    if not is_good:
        raise PermanentError("Google Drive is not usable as it should be; see the lines with NO.")


@app.command()
def authorize(
    client_file: Annotated[
        Path, typer.Argument(help="JSON of a client of type 'Desktop app', from Google's console.")
    ],
    sink: Annotated[Path, typer.Argument(help="The key file to write.")],
    port: Annotated[int, typer.Option(help="Where the browser comes back to; 0: any free.")] = 0,
    wait_s: Annotated[int, typer.Option(min=1, help="So long a person may take.")] = 600,
) -> None:
    """Let a person agree, in their browser, that the clinic uses their Google Drive."""

    def show(url: str) -> None:
        # Not by rich: it would wrap the address.
        typer.echo(f"Open this in a browser on this machine, and agree:\n\n{url}\n")

    ends_at = ask_for_consent(client_file, sink, show, port=port, timeout_s=wait_s)
    typer.echo(f"Written to {sink}, for its owner alone. It is a password: keep it like one.")
    if ends_at:
        typer.echo(
            f"The consent ends at {ends_at:%Y-%m-%d %H:%M} UTC, for the app is in state 'testing': "
            "publish it in Google's console, then run this again."
        )
