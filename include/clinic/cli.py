"""The ``clinic`` command: what an administrator does without Airflow."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from clinic import drive_commands, restore_commands, shared_db_commands
from clinic.alerts import commands as alerts
from clinic.backups import commands as backups
from clinic.demo import commands as demo_commands
from clinic.documents import commands as documents
from clinic.errors import ClinicError
from clinic.identity import commands as keycloak_commands
from clinic.inventory import commands as inventory
from clinic.stack_env import read_stack_env

app = typer.Typer(
    name="clinic",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals hold passwords and keys
)


@app.callback()
def use_the_running_stack() -> None:
    """The clinic's integration platform, from the command line.

    Addresses and credentials come from the environment; where it names no server, from the
    stack.env of those that `make up` started.
    """
    stack = read_stack_env(Path(os.environ.get("CLINIC_STATE", ".state")))
    # All or nothing: another server must not be given a secret of this machine's.
    if not any(name in os.environ for name in stack if name.endswith("_URL")):
        os.environ.update({name: value for name, value in stack.items() if name not in os.environ})


app.add_typer(shared_db_commands.app, name="db")
app.command("sync")(inventory.sync)
app.command("reconcile")(inventory.reconcile)
app.add_typer(inventory.movements, name="movements")
app.add_typer(documents.app, name="documents")
app.add_typer(alerts.app, name="alerts")
app.add_typer(backups.app, name="backup")
app.command("restore")(restore_commands.restore)
app.add_typer(drive_commands.app, name="drive")
app.add_typer(demo_commands.app, name="demo")
app.add_typer(keycloak_commands.app, name="keycloak")


def main() -> None:
    """Run the command; what went wrong is one sentence, without a traceback."""
    try:
        app(prog_name="clinic")  # whatever Python ran: nobody types that
    except ClinicError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
