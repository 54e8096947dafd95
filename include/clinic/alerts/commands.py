"""``clinic alerts``: what is open, and closing what no run will close."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from clinic.clients.alerts_db import AlertsDb
from clinic.errors import PermanentError

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
    """List what is open, the oldest first."""
    with closing(AlertsDb(shared_db_url)) as ledger:
        rows = ledger.list_open()
    table = Table("key", "cause", "severity", "since (UTC)", "last (UTC)", "times", "detail")
    for row in rows:
        table.add_row(
            row["key"],
            row["cause"],
            row["severity"],
            row["first_at"].isoformat(" ", "seconds")[:19],
            row["last_at"].isoformat(" ", "seconds")[:19],
            str(row["count"]),
            row["detail"],
        )
    console = Console()
    console.print(table if rows else "Nothing is open.")


@app.command()
def resolve(
    key: Annotated[str, typer.Argument(help="As `clinic alerts list` shows it.")],
    shared_db_url: SharedUrl,
) -> None:
    """Close an alert that no run will close; if its cause goes on, it opens anew."""
    with closing(AlertsDb(shared_db_url)) as ledger:
        if not ledger.resolve(key, datetime.now(UTC)):
            raise PermanentError(f"No alert {key!r} is open. `clinic alerts list` says which are.")
    Console().print("Resolved. The closing message follows once its outage has been quiet.")
