"""
# Clean Airflow's database

Deletes what old runs left behind: rows of Airflow's own database and task log files. A
`@continuous` DAG makes a run every few minutes, so that both would grow without end.

* **Reads**: Airflow's database (connection `airflow_metadata`)
* **Writes**: the same, and the folder of task logs: what is older than `keep_days` goes. The newest
  run of each DAG stays, and so does every run that is not finished
* **Run it twice?** Safe: the second finds nothing.
* **When it fails**: nothing else is affected; the database grows until it succeeds. See
  `docs/runbooks/clean_airflow_db.md`.
"""

from typing import Any

import pendulum
from airflow.sdk import Param, dag, task
from clinic_airflow.defaults import DEFAULT_ARGS, Tag


@dag(
    schedule="45 3 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params={
        "keep_days": Param(
            7, type="integer", minimum=1, description="Keep what is younger than so many days."
        )
    },
    doc_md=__doc__,
    tags=[Tag.HOUSEKEEPING],
    is_paused_upon_creation=False,
)
def clean_airflow_db():
    @task
    def clean_metadata(params: dict[str, Any]) -> None:
        """Delete old rows of Airflow's database."""
        from clinic_airflow import housekeeping

        housekeeping.clean_metadata("airflow_metadata", params["keep_days"])

    @task
    def clean_logs(params: dict[str, Any]) -> int:
        """Delete old log files; return how many."""
        from clinic_airflow import housekeeping

        return housekeeping.clean_logs(params["keep_days"])

    clean_metadata() >> clean_logs()


clean_airflow_db()
