"""
# Back up Odoo

Dumps Odoo's database and files in one snapshot, reads the dump back, encrypts it, uploads it and
compares what arrived. Only then it is a backup. Each night, by hand, and by the button in Odoo.

* **Reads**: Odoo's database and filestore (`odoo_database`), or its database manager
  (`odoo_database_manager`), as the Variable `clinic_backup_settings` says
* **Writes**: the archive and its manifest (`google_cloud_drive`), `backups` (`shared_db`), and
  Odoo's list of backups (`odoo_backups`)
* **Run it twice?** Safe: each run makes a backup of its own, one at a time, and each try of a run
  goes on with the same one.
* **When it fails**: there is no backup of this run, and older ones are untouched. See
  `docs/runbooks/backup_odoo.md`.
"""

from datetime import timedelta

import pendulum
from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, Param, dag, task, teardown
from clinic.backups.model import BackupKind
from clinic_airflow.assets import BACKUP_REQUESTS
from clinic_airflow.defaults import DEFAULT_ARGS, Tag

KINDS = [kind.value for kind in BackupKind]


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("0 1 * * *", timezone="UTC"), assets=[BACKUP_REQUESTS]
    ),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params={
        "kind": Param(
            KINDS[0],
            enum=KINDS,
            title="Qué se copia (kind)",
            description="Solo full se restaura por sí sola. (Only full can be restored by itself.)",
        ),
        "note": Param(
            "",
            type=["null", "string"],
            maxLength=200,
            title="Motivo (note)",
            description="Se guarda con la copia. (Why; kept with the backup.)",
        ),
    },
    doc_md=__doc__,
    tags=[Tag.BACKUPS, Tag.ODOO],
    is_paused_upon_creation=False,
)
def backup_odoo():
    @task(execution_timeout=timedelta(hours=6))
    def take(params, dag_run, triggering_asset_events):
        """Return what was stored where."""
        from clinic_airflow.backups import take_backup

        return take_backup(params, dag_run, triggering_asset_events)

    # Whatever became of it; and that Odoo could not be told does not make a backup a failure.
    @teardown(on_failure_fail_dagrun=False)
    def tell():
        """Bring Odoo's list up to date; return how many lines changed."""
        from clinic_airflow.backup_requests import tell_odoo

        return tell_odoo()

    take() >> tell()


backup_odoo()
