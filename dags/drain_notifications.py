"""
# Drain notifications

Tells Odoo what became of documents, many in one call, and sends the e-mails that Odoo asks for in
answer. Waiting for the next costs no worker.

* **Reads**: `notification_queue` and `notification_queue.killed` (connection
  `rabbitmq_default`)
* **Writes**: `clinic.document` and its chatter in Odoo (`odoo_documents`); e-mail (`smtp_default`);
  `document_mails` and `document_events` (`shared_db`); retries and parked messages
  (`rabbitmq_default`)
* **Run it twice?** Safe: Odoo applies a notification once, and a mail is claimed in the ledger
  before the mail server hears of it. One that a kill left without an outcome is called
  `mail_uncertain` in the document's timeline and is not sent again.
* **When it fails**: messages wait in the queue, none is lost; a single bad message is parked and
  fails nothing. It fails each minute while Odoo is up and takes none of them, as with an old
  addon. See `docs/runbooks/drain_notifications.md`.
"""

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import dag, task
from clinic_airflow.defaults import DEFAULT_ARGS, Tag
from rabbitmq_provider.sensors.rabbitmq import RabbitMQQueueSensor

QUEUE = "notification_queue"
RUN_S = 300


@dag(
    schedule="@continuous",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),  # without one, @continuous runs once only
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=[Tag.DOCUMENTS, Tag.ODOO],
    is_paused_upon_creation=False,
)
def drain_notifications():
    wait = RabbitMQQueueSensor(
        task_id="wait",
        queue=QUEUE,
        timeout=3600,
        soft_fail=True,  # drained all the same: an hour without notifications is no failure
        execution_timeout=timedelta(hours=2),
    )

    @task(
        do_xcom_push=False,  # the log has the summary
        # The last batch begun within the five minutes may wait for Odoo and the mail server.
        execution_timeout=timedelta(seconds=RUN_S + 1500),
        trigger_rule="none_failed",  # what the broker took out of the queue is seen to hourly
        retries=2,
        retry_delay=timedelta(seconds=10),
        retry_exponential_backoff=False,
    )
    def drain() -> dict[str, Any]:
        """Tell what waits; return what was done."""
        # Imported here, so that parsing the folder costs no HTTP and no database library.
        from clinic_airflow.documents import notify

        return notify(RUN_S)

    wait >> drain()


drain_notifications()
