"""
# Replay parked documents

Sends parked messages on their way again, once what stopped them is put right. By default it only
says which it would be. More than 100 are replayed only after somebody has approved.

* **Reads**: `<queue>.parking` (connection `rabbitmq_default`)
* **Writes**: `documents_exchange` (`rabbitmq_default`); `document_replays`, with who and why
  (`shared_db`). A message that is not chosen stays in its place.
* **Run it twice?** Safe: what was replayed is no longer parked, and a document that is stored
  already is not stored again.
* **When it fails**: the rest is still parked. See `docs/runbooks/replay_parked_documents.md`.
"""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag, task
from clinic.documents.reasons import ParkReason
from clinic.documents.replay import WorkQueue
from clinic_airflow.defaults import DEFAULT_ARGS, Tag

QUEUES = [queue.value for queue in WorkQueue]
TYPES = [None, "invoice", "medical_record"]
REASONS = [None, *(reason.value for reason in ParkReason)]
INSTANT = {"type": ["null", "string"], "format": "date-time"}


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params={
        "queue": Param(QUEUES[0], enum=QUEUES, description="Where the messages came from."),
        "document_type": Param(None, enum=TYPES, description="Only these."),
        "reason": Param(None, enum=REASONS, description="Only those parked for this."),
        "parked_from": Param(None, **INSTANT, description="Not those parked before."),
        "parked_to": Param(None, **INSTANT, description="Not those parked then or later."),
        "limit": Param(100, type="integer", minimum=1, description="Not more, the oldest."),
        "dry_run": Param(True, type="boolean", description="Only say which it would be."),
        "why": Param(type="string", minLength=3, description="Why; kept with your name."),
    },
    doc_md=__doc__,
    tags=[Tag.DOCUMENTS],
    is_paused_upon_creation=False,
)
def replay_parked_documents():
    @task
    def plan(params):
        from clinic_airflow.documents import plan_replay

        return plan_replay(params)

    @task.branch
    def decide(planned, params):
        from clinic_airflow.documents import next_step

        return next_step(planned, params)

    @task(trigger_rule="none_failed_min_one_success")
    def replay(planned, params, dag_run, ti):
        from clinic_airflow.documents import replay_parked

        return replay_parked(params, planned, dag_run, ti.xcom_pull(task_ids="approve"))

    approve = ApprovalOperator(
        task_id="approve",
        subject="Replay more than 100 parked messages?",
        body="{{ ti.xcom_pull(task_ids='plan')['text'] }}",
        defaults="Reject",
        response_timeout=timedelta(days=1),
    )
    decide(planned := plan()) >> [approve, replayed := replay(planned)]
    approve >> replayed


replay_parked_documents()
