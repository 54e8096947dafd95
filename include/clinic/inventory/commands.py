"""``clinic sync`` and ``clinic reconcile``: the mirror without Airflow."""

from __future__ import annotations

import getpass
import json
import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal, InvalidOperation
from typing import Annotated
from uuid import UUID

import typer

from clinic.clients.movements_db import MovementsDb
from clinic.clients.odoo import OdooClient
from clinic.clients.odoo_feed import OdooFeed
from clinic.clients.odoo_movements import OdooMovements
from clinic.clients.shared_db import SharedDb
from clinic.errors import PermanentError
from clinic.inventory.mirror import InventoryMirror
from clinic.inventory.movements import MovementWriter
from clinic.inventory.reconcile import reconcile as reconcile_inventory
from clinic.tables import print_table

OdooUrl = Annotated[str, typer.Option(envvar="ODOO_URL", help="Odoo's HTTP address.")]
EventedUrl = Annotated[
    str,
    typer.Option(envvar="ODOO_EVENTED_URL", help="Odoo's evented address, where the stream is."),
]
OdooDb = Annotated[str, typer.Option(envvar="ODOO_DB", help="Odoo's database.")]
ApiKey = Annotated[
    str,
    typer.Option(
        envvar="ODOO_FEED_API_KEY", help="API key of the feed's reader.", show_default=False
    ),
]
MovementsKey = Annotated[
    str,
    typer.Option(
        envvar="ODOO_MOVEMENTS_API_KEY",
        help="API key of the account that books movements; without it none are booked.",
        show_default=False,
    ),
]
SharedUrl = Annotated[
    str,
    typer.Option(envvar="SHARED_DB_SYNC_URL", help="postgresql:// address, as clinica_sync."),
]


@contextmanager
def _movements(shared_db_url: str, odoo: OdooClient | None) -> Iterator[None]:
    """Book what other systems ask for while the block runs, if there is an account that may."""
    if odoo is None:
        yield
        return
    with MovementWriter(MovementsDb(shared_db_url), OdooMovements(odoo)).running():
        yield


def sync(
    odoo_url: OdooUrl,
    odoo_evented_url: EventedUrl,
    odoo_db: OdooDb,
    odoo_api_key: ApiKey,
    shared_db_url: SharedUrl,
    seconds: Annotated[float, typer.Option(min=0, help="How long to follow Odoo.")] = 60,
    full: Annotated[bool, typer.Option("--full", help="Load everything anew first.")] = False,
    odoo_movements_api_key: MovementsKey = "",
) -> None:
    """Mirror Odoo's stock into the shared database for a while, as the DAG sync_inventory does.

    With the key of the account that books, movements of other systems are booked in Odoo too.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line a request
    feed = OdooFeed.connect(odoo_url, odoo_evented_url, database=odoo_db, api_key=odoo_api_key)
    store, alerts = SharedDb(shared_db_url), SharedDb(shared_db_url)
    if full:
        store.forget_cursor()
    booking = OdooClient.connect(odoo_url, database=odoo_db, api_key=odoo_movements_api_key)
    try:
        with _movements(shared_db_url, booking if odoo_movements_api_key else None):
            InventoryMirror(feed, store, alerts).follow(time.monotonic() + seconds)
    finally:
        feed.close()
        booking.close()
    typer.echo("Done. Run it again to go on from where it stopped.", err=True)


def reconcile(
    odoo_url: OdooUrl,
    odoo_evented_url: EventedUrl,
    odoo_db: OdooDb,
    odoo_api_key: ApiKey,
    shared_db_url: SharedUrl,
    threshold: Annotated[int, typer.Option(min=0, help="Fail above so many differences.")] = 20,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report only.")] = False,
) -> None:
    """Compare the shared database with Odoo and heal it, as the DAG reconcile_inventory does."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    report = reconcile_inventory(
        OdooClient.connect(odoo_url, database=odoo_db, api_key=odoo_api_key),
        OdooFeed.connect(odoo_url, odoo_evented_url, database=odoo_db, api_key=odoo_api_key),
        SharedDb(shared_db_url, is_durable=True),
        threshold=threshold,
        dry_run=dry_run,
    )
    typer.echo(json.dumps(report.as_dict(), indent=1, default=str))


movements = typer.Typer(help="Movements that other systems ask for.", no_args_is_help=True)


@movements.command("list")
def list_movements(
    shared_db_url: SharedUrl,
    state: Annotated[
        str | None,
        typer.Option(help="Only these: pending, applying, applied, conflict, discarded."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
) -> None:
    """List the newest requests; one with a conflict shows the number to resolve it by."""
    with closing(MovementsDb(shared_db_url)) as ledger:
        rows = ledger.list_requests(state, count)
    columns = ("asked at", "request", "kind", "medication", "lot", "quantity", "state")
    table = []
    for row in rows:
        what = row["state"]
        if row["conflict_id"]:
            what += f" {row['conflict_id']}: {row['error_code']}"
        elif row["error_code"]:
            what += f" ({row['error_code']}, attempt {row['attempts']})"
        asked_at = row["created_at"].isoformat(" ", "seconds")
        words = (asked_at, row["id"], row["kind"], row["medication"], row["lot"], row["quantity"])
        table.append((*words, what))
    print_table(columns, table)


@movements.command("show")
def show_movement(shared_db_url: SharedUrl, request: Annotated[UUID, typer.Argument()]) -> None:
    """Show one request: what was asked, what became of it, and what Odoo has."""
    with closing(MovementsDb(shared_db_url)) as ledger:
        found = ledger.show(request)
    if found is None:
        raise PermanentError(
            f"There is no movement request {request}: see `clinic movements list`."
        )
    print_table(
        ("what", "value"),
        [(name, value) for name, value in found.items() if value not in (None, [])],
    )


@movements.command("resolve")
def resolve_movement(
    shared_db_url: SharedUrl,
    conflict: Annotated[int, typer.Argument(help="The number that `list` shows.")],
    decision: Annotated[str, typer.Argument(help="apply_anyway, discard or recount.")],
    note: Annotated[str | None, typer.Option(help="Why, for whoever asks later.")] = None,
    counted: Annotated[str | None, typer.Option(help="Of a recount: what is there.")] = None,
    expected: Annotated[
        str | None, typer.Option(help="Of a recount: what Odoo is believed to have.")
    ] = None,
) -> None:
    """Decide what becomes of a movement that did not fit Odoo's stock."""
    with closing(MovementsDb(shared_db_url)) as ledger:
        follows = ledger.resolve(
            conflict,
            decision,
            getpass.getuser(),
            note=note,
            counted=_quantity(counted),
            expected=_quantity(expected),
        )
    typer.echo(f"Resolved. The request {follows} goes on: clinic movements show {follows}")


def _quantity(text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation as error:
        raise PermanentError(f"{text!r} is no quantity: write digits, as in 12.5.") from error
