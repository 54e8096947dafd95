"""``clinic alerts``: what is open, and closing what no run will close."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated

import typer

from clinic.alerts.runbooks import of_alert, of_cause
from clinic.clients.alerts_db import AlertsDb
from clinic.errors import PermanentError
from clinic.tables import print_table

app = typer.Typer(help="What is wrong, and since when.", no_args_is_help=True)

SharedUrl = Annotated[
    str,
    typer.Option(
        envvar="SHARED_DB_SYNC_URL",
        help="postgresql:// address, as clinica_sync.",
        show_default=False,
    ),
]


@app.command("list")
def list_open(shared_db_url: SharedUrl) -> None:
    """List what is open, the oldest first, and what to do first about it."""
    with closing(AlertsDb(shared_db_url)) as ledger:
        rows = ledger.list_open()
    if not rows:
        typer.echo("Nothing is open.")
        return
    print_table(
        (
            "key",
            "cause",
            "severity",
            "since (UTC)",
            "last (UTC)",
            "times",
            "detail",
            "first step",
            "runbook",
        ),
        [
            (
                row["key"],
                row["cause"],
                row["severity"],
                row["first_at"].isoformat(" ", "seconds")[:19],
                row["last_at"].isoformat(" ", "seconds")[:19],
                row["count"],
                row["detail"],
                step.do[1],
                f"docs/runbooks/{step.place}",
            )
            for row in rows
            for step in [of_cause(row["cause"]) or of_alert(row["runbook"], row["key"])]
        ],
    )


@app.command()
def resolve(
    key: Annotated[str, typer.Argument(help="As `clinic alerts list` shows it.")],
    shared_db_url: SharedUrl,
) -> None:
    """Close an alert that no run will close; if its cause goes on, it opens anew."""
    with closing(AlertsDb(shared_db_url)) as ledger:
        if not ledger.resolve(key, datetime.now(UTC)):
            raise PermanentError(f"No alert {key!r} is open. `clinic alerts list` says which are.")
    typer.echo("Resolved. The closing message follows once its outage has been quiet.")
