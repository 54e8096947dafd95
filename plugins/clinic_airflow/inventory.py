"""The inventory's use cases, wired to Airflow's connections."""

from __future__ import annotations

import logging
import time
from typing import Any

from clinic.inventory.mirror import InventoryMirror
from clinic.inventory.reconcile import reconcile

from clinic_airflow.hooks.odoo import OdooHook
from clinic_airflow.hooks.shared_db import SharedDbHook

# One HTTP request a line, at level INFO, would drown what the task itself has to say.
logging.getLogger("httpx").setLevel(logging.WARNING)


def mirror_inventory(seconds: float) -> dict[str, Any]:
    """Mirror Odoo's stock for so many seconds and return what was done."""
    feed, database = OdooHook().get_feed(), SharedDbHook()
    try:
        mirror = InventoryMirror(feed, database.get_conn(), database.get_conn())
        return mirror.follow(time.monotonic() + seconds).as_dict()
    finally:
        feed.close()


def reconcile_inventory(threshold: int, *, dry_run: bool) -> dict[str, Any]:
    """Compare the mirror with Odoo, report and heal what differs, and return what was found."""
    odoo, database = OdooHook(), SharedDbHook()
    feed, store = odoo.get_feed(), database.get_conn(is_durable=True)
    try:
        return reconcile(
            odoo.get_conn(), feed, store, threshold=threshold, dry_run=dry_run
        ).as_dict()
    finally:
        store.prune(events_days=7, drift_days=365)
        store.close()
        feed.close()
