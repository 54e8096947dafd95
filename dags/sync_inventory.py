"""
# Sync inventory

Mirrors Odoo's stock and patients into the shared database within a second of each commit. One task
holds the change feed's stream for five minutes; the next run goes on from the cursor that it
committed.

Beside it, movements that other systems asked for are booked in Odoo, each once by its request id.

* **Reads**: Odoo's change feed (connection `odoo_default`); `movement_requests`
* **Writes**: transfers and adjustments in Odoo (connection `odoo_movements`); the `shared_…`
  tables, `low_stock_alerts`, `sync_cursors`, `sync_rejects`, `change_events`, `movement_requests`
  and `sync_conflicts` (connection `shared_db`); the asset `shared_inventory`
* **Run it twice?** Safe: a second mirror waits for the first, and rows are upserted by their key in
  the same transaction as the cursor. Odoo books a request once, however often it is asked to.
* **When it fails**: the dashboard keeps the last figures and shows their time; the next run goes on
  from there. See `docs/runbooks/sync_inventory.md`.
"""

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import dag, task
from clinic_airflow.assets import SHARED_INVENTORY
from clinic_airflow.defaults import DEFAULT_ARGS, Tag

RUN_S = 300


@dag(
    schedule="@continuous",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),  # without one, @continuous runs once only
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=[Tag.INVENTORY, Tag.ODOO],
    is_paused_upon_creation=False,
)
def sync_inventory():
    @task(
        outlets=[SHARED_INVENTORY],
        do_xcom_push=False,  # the log has the summary; pushing it widens the gap between runs
        # A full load of a large Odoo may outlast the five minutes by one page, not by more.
        execution_timeout=timedelta(seconds=RUN_S + 300),
        # Odoo or the database was away for a minute, and the task waited that long for it already.
        retries=2,
        retry_delay=timedelta(seconds=10),
        retry_exponential_backoff=False,
    )
    def mirror() -> dict[str, Any]:
        """Follow Odoo's change feed for five minutes; return what was done."""
        # Imported here, so that parsing the folder costs no HTTP and no database library.
        from clinic_airflow.inventory import mirror_inventory

        return mirror_inventory(RUN_S)

    mirror()


sync_inventory()
