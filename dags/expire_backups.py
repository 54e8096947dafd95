"""
# Expire old backups

Gives up the backups that no day, week, month or year needs any more (`retention` in the Variable
`clinic_backup_settings`), and puts their files into the vault's trash. The log says the whole plan,
with the reason for each backup, before anything is done.

* **Reads**: `backups`, `restores`, `restore_drills` (`shared_db`); the vault's list of files
  (`google_cloud_drive`)
* **Writes**: `backups` (state `expired`), then the vault's trash. Never the newest, never one that
  is being restored, or that the last good drill proved, and never a file that it does not know.
* **Run it twice?** Safe: the second run finds nothing. By hand it only says what it would do,
  unless you take the tick at `dry_run` away; the nightly run does it.
* **When it fails**: nothing is lost; the next run ends what was begun. See
  `docs/runbooks/expire_backups.md`.
"""

import pendulum
from airflow.sdk import Param, dag, task
from clinic_airflow.defaults import DEFAULT_ARGS, Tag


@dag(
    schedule="30 3 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params={
        "dry_run": Param(
            True,
            type="boolean",
            title="Solo decir qué haría (dry run)",
            description="La nocturna lo hace igualmente. (The nightly run does it all the same.)",
        )
    },
    doc_md=__doc__,
    tags=[Tag.BACKUPS],
    is_paused_upon_creation=False,
)
def expire_backups():
    @task
    def expire(params, dag_run):
        """Return how many were kept and given up."""
        from clinic_airflow import retention

        return retention.expire(params, dag_run)

    expire()


expire_backups()
