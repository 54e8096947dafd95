"""The ``clinic`` command: what an administrator does without Airflow."""

from __future__ import annotations

import typer

from clinic import shared_db_commands
from clinic.demo import commands as demo_commands
from clinic.identity import commands as keycloak_commands
from clinic.inventory import commands as inventory

app = typer.Typer(
    name="clinic",
    help="The clinic's integration platform, from the command line.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals hold passwords and keys
)

app.add_typer(shared_db_commands.app, name="db")
app.command("sync")(inventory.sync)
app.command("reconcile")(inventory.reconcile)
app.add_typer(demo_commands.app, name="demo")
app.add_typer(keycloak_commands.app, name="keycloak")

if __name__ == "__main__":
    app()
