"""
# Drain medical records

Stores signed medical records: each is fetched from Odoo, checked (size, hash, type, opens as a
PDF), put into the document store, and noted. Waiting for the next costs no worker.

* **Reads**: `medical_records_queue` and `medical_records_queue.killed` (connection
  `rabbitmq_default`), the documents in Odoo (`odoo_documents`), the Variable
  `clinic_document_stores`
* **Writes**: files in the store of `medical_record` (by default Nextcloud); `documents`,
  `document_events` and the other tables of the documents' ledger (`shared_db`);
  `notification.send`, retries and parked messages (`rabbitmq_default`)
* **Run it twice?** Safe: a document that was stored is recognised and not stored again. A message
  is acknowledged only after its document's row is committed.
* **When it fails**: messages wait in the queue, none is lost; a single bad message is parked and
  fails nothing. See `docs/runbooks/drain_medical_records.md`.
"""

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import dag, task
from clinic_airflow.defaults import DEFAULT_ARGS, Tag
from rabbitmq_provider.sensors.rabbitmq import RabbitMQQueueSensor

QUEUE = "medical_records_queue"
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
def drain_medical_records():
    wait = RabbitMQQueueSensor(
        task_id="wait",
        queue=QUEUE,
        timeout=3600,
        soft_fail=True,  # drained all the same: an hour without records is no failure
        execution_timeout=timedelta(hours=2),
    )

    @task(
        do_xcom_push=False,  # the log has the summary
        # The last records begun within the five minutes may be large, and its store slow.
        execution_timeout=timedelta(seconds=RUN_S + 1500),
        trigger_rule="none_failed",  # what the broker took out of the queue is seen to hourly
        retries=2,
        retry_delay=timedelta(seconds=10),
        retry_exponential_backoff=False,
    )
    def drain() -> dict[str, Any]:
        """Store what waits; return what was done."""
        # Imported here, so that parsing the folder costs no HTTP and no database library.
        from clinic_airflow.documents import drain_documents

        return drain_documents(QUEUE, RUN_S)

    wait >> drain()


drain_medical_records()
