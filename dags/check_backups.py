"""
# Check the backups

Looks each hour whether what is promised of backups holds: the last good one is young enough, all
stored ones are in the vault as they were stored, the last drill went well and in time, there is
space for a week, the account is let in, and Odoo's list is up to date. Each breach is one alert,
which ends by itself.

* **Reads**: `backups`, `restore_drills` (`shared_db`); the vault's list of files and its space
  (`google_cloud_drive`); the drill's key on this machine
* **Writes**: `alerts` (`shared_db`), which `send_alerts` tells people
* **Run it twice?** Safe: the same breach is the same alert.
* **When it fails**: alerts stay as they were. The vault was out of reach, or the settings cannot be
  read. See `docs/runbooks/check_backups.md`.
"""

import pendulum
from airflow.sdk import dag, task
from clinic_airflow.defaults import DEFAULT_ARGS, Tag


@dag(
    schedule="20 * * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=[Tag.BACKUPS],
    is_paused_upon_creation=False,
)
def check_backups():
    @task
    def check(prev_start_date_success):
        """Return the keys of what is wrong."""
        from clinic_airflow import retention

        return retention.check_backups(prev_start_date_success)

    check()


check_backups()
