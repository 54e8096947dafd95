"""
# Send alerts

Tells people what is wrong: one message for each outage on each channel (e-mail, an activity in
Odoo, a webhook), a reminder once a day, and a word when it is over.

* **Reads**: the reports of failed tasks (`$AIRFLOW_HOME/spool/alerts`); failed tasks and files that
  cannot be read in Airflow's database (connection `airflow_metadata`); the Variable
  `clinic_alert_settings`; whether RabbitMQ answers (`rabbitmq_default`)
* **Writes**: `outages`, `alerts`, `alert_messages`, `alert_deliveries`, `alert_reports` and
  `alert_looks` (`shared_db`); e-mail (`smtp_default`), activities (`odoo_alerts`), a webhook
  (`clinic_alert_webhook`)
* **Run it twice?** Safe: a failure is counted once, and a message is claimed before it is sent. One
  that a kill left in between is sent again under the same id, by which its receiver knows it.
* **When it fails**: nothing is lost; the next run sends it. While the shared database is down, its
  outage is mailed without it. See `docs/runbooks/send_alerts.md`.
"""

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import dag, task
from clinic_airflow.defaults import DEFAULT_ARGS, Tag


@dag(
    schedule="* * * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=[Tag.ALERTS],
    is_paused_upon_creation=False,
)
def send_alerts():
    @task(
        do_xcom_push=False,  # the log has the summary
        retries=1,  # the next run is due within a minute
        retry_delay=timedelta(seconds=10),
        execution_timeout=timedelta(minutes=10),
    )
    def send() -> dict[str, Any]:
        """Collect what is wrong and send what is due; return what was done."""
        # Imported here, so that parsing the folder costs no HTTP and no database library.
        from clinic_airflow import alerts

        return alerts.send_alerts()

    send()


send_alerts()
