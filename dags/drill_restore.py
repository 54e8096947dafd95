"""
# Drill: restore for real

Proves each week that the newest full backup can be restored, and how long it takes: restores it
into a scratch database, compares every table and file with its manifest, starts an Odoo of its own
on it, opens the login page, prints a report, and removes all of it again.

* **Reads**: `backups` (`shared_db`), the archive in the vault (`google_cloud_drive`), the newest
  full backup's own key
* **Writes**: `restores`, `restore_drills` (`shared_db`); a database `drill_…`, which is removed
  whatever happens (`odoo_database`)
* **Run it twice?** Safe: each is a drill of its own.
* **When it fails**: do not rely on the newest backup. See `docs/runbooks/drill_restore.md`.
"""

from datetime import timedelta

import pendulum
from airflow.sdk import dag, task
from clinic_airflow.defaults import DEFAULT_ARGS, Tag


@dag(
    schedule="0 4 * * 0",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=[Tag.BACKUPS, Tag.ODOO],
    is_paused_upon_creation=False,
)
def drill_restore():
    @task(execution_timeout=timedelta(hours=8))
    def drill(dag_run, ti):
        """Return what was compared, and how long each step took."""
        from clinic_airflow.restores import hold_drill

        return hold_drill(dag_run, ti)

    drill()


drill_restore()
