"""
# Reconcile inventory

Compares every sum of the shared database with Odoo's own, read by its ORM and not by the change
feed; reports each difference with its probable cause, and heals it.

* **Reads**: Odoo `stock.quant`, `stock.move.line`, and the state of products, lots, locations and
  reorder rules (connection `odoo_default`)
* **Writes**: `drift_reports` and what drifted (connection `shared_db`); deletes events older
  than a week and reports older than a year
* **Run it twice?** Safe: the second finds nothing. It may run beside `sync_inventory`.
* **When it fails**: more than `threshold` records differed (healed where possible; their cause is
  yours to find), or Odoo could not be read. See `docs/runbooks/reconcile_inventory.md`.
"""

from typing import Any

import pendulum
from airflow.sdk import Param, dag, task
from clinic_airflow.defaults import DEFAULT_ARGS, Tag


@dag(
    schedule="15 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params={
        "threshold": Param(
            20, type="integer", minimum=0, description="Fail when more records than this differ."
        ),
        "dry_run": Param(False, type="boolean", description="Report only; heal nothing."),
    },
    doc_md=__doc__,
    tags=[Tag.INVENTORY, Tag.ODOO],
    is_paused_upon_creation=False,
)
def reconcile_inventory():
    @task
    def compare_and_heal(params: dict[str, Any]) -> dict[str, Any]:
        """Return what was compared and what differed."""
        # Imported here, so that parsing the folder costs no HTTP and no database library.
        from clinic_airflow.inventory import reconcile_inventory as reconcile

        return reconcile(params["threshold"], dry_run=params["dry_run"])

    @task
    def prune() -> int:
        """Delete old events and drift reports; return how many."""
        from clinic_airflow.inventory import prune_history

        return prune_history()

    # Side by side: neither waits for the other, hides its error, or goes without because of it.
    compare_and_heal()
    prune()


reconcile_inventory()
