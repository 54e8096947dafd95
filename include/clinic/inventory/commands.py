"""``clinic sync`` and ``clinic reconcile``: the mirror without Airflow."""

from __future__ import annotations

import json
import logging
import time
from typing import Annotated

import typer

from clinic.clients.odoo import OdooClient
from clinic.clients.odoo_feed import OdooFeed
from clinic.clients.shared_db import SharedDb
from clinic.inventory.mirror import InventoryMirror
from clinic.inventory.reconcile import reconcile as reconcile_inventory

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
SharedUrl = Annotated[
    str,
    typer.Option(envvar="SHARED_DB_SYNC_URL", help="postgresql:// address, as clinica_sync."),
]


def sync(
    odoo_url: OdooUrl,
    odoo_evented_url: EventedUrl,
    odoo_db: OdooDb,
    odoo_api_key: ApiKey,
    shared_db_url: SharedUrl,
    seconds: Annotated[float, typer.Option(min=0, help="How long to follow Odoo.")] = 60,
    full: Annotated[bool, typer.Option("--full", help="Load everything anew first.")] = False,
) -> None:
    """Mirror Odoo's stock into the shared database for a while, as the DAG sync_inventory does."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line a request
    feed = OdooFeed.connect(odoo_url, odoo_evented_url, database=odoo_db, api_key=odoo_api_key)
    store, alerts = SharedDb(shared_db_url), SharedDb(shared_db_url)
    if full:
        store.forget_cursor()
    try:
        InventoryMirror(feed, store, alerts).follow(time.monotonic() + seconds)
    finally:
        feed.close()
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
