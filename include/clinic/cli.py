"""The ``clinic`` command: what an administrator does without Airflow."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="clinic",
    help="The clinic's integration platform, from the command line.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals hold passwords and keys
)

if __name__ == "__main__":
    app()
