"""
# Restore Odoo

Restores a backup into a database of its own, compares every table and file with its manifest, and
gives it the target's name only then. A database that has the name is renamed and kept.

* **Reads**: `backups` (`shared_db`), the archive in the vault (`google_cloud_drive`), the private
  key in the connection `backup_identity`, or the newest full backup's own key
* **Writes**: a database and its filestore (`odoo_database`); `restores` (`shared_db`)
* **Run it twice?** Safe: a try goes on where the one before was killed, and what is replaced is
  kept as `<target>_before_<time>`.
* **When it fails**: what is in use was not touched. See `docs/runbooks/restore_odoo.md`.
"""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import dag, task
from clinic_airflow import forms
from clinic_airflow.defaults import DEFAULT_ARGS, Tag
from clinic_airflow.pick import PickOperator


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params=forms.RESTORE,
    doc_md=__doc__,
    tags=[Tag.ODOO, Tag.BACKUPS],
    is_paused_upon_creation=False,
)
def restore_odoo():
    @task.branch
    def look(params, ti):
        from clinic_airflow.restores import list_backups

        return list_backups(params, ti)

    @task.branch(trigger_rule="none_failed_min_one_success")
    def decide(params, ti):
        from clinic_airflow.restores import next_step

        return next_step(params, ti)

    @task(trigger_rule="none_failed_min_one_success", execution_timeout=timedelta(hours=8))
    def restore(params, dag_run, ti):
        from clinic_airflow.restores import restore_backup

        return restore_backup(params, dag_run, ti)

    choose = PickOperator(task_id="choose", subject=forms.WHICH, options_from="look")
    approve = ApprovalOperator(
        task_id="approve",
        subject=forms.REPLACE,
        body="{{ ti.xcom_pull(task_ids='decide', key='question') }}",
        defaults="Reject",
        response_timeout=timedelta(days=1),
    )
    look() >> [choose, decided := decide()]
    choose >> decided >> [approve, restored := restore()]
    approve >> restored


restore_odoo()
