"""The ``clinic`` command: what an administrator does without Airflow."""

from __future__ import annotations

import typer

from clinic import shared_db_commands

app = typer.Typer(
    name="clinic",
    help="The clinic's integration platform, from the command line.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals hold passwords and keys
)

app.add_typer(shared_db_commands.app, name="db")

if __name__ == "__main__":
    app()
