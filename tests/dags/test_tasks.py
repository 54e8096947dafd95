"""Each task's function, called directly: what it hands on, and to whom."""

from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import clinic_airflow.backup_requests
import clinic_airflow.backups
import clinic_airflow.documents
import clinic_airflow.housekeeping
import clinic_airflow.inventory
import clinic_airflow.retention
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import ParamValidationError
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from clinic.errors import PermanentError, TransientError

DAGS_DIR = Path(__file__).parents[2] / "dags"


@pytest.fixture(scope="module")
def dagbag() -> DagBag:
    return DagBag(dag_folder=str(DAGS_DIR))


def function_of(dagbag: DagBag, dag_id: str, task_id: str) -> Any:
    return dagbag.dags[dag_id].get_task(task_id).python_callable


def replaced(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, returns: Any) -> Any:
    mock = create_autospec(getattr(module, name), return_value=returns)
    monkeypatch.setattr(module, name, mock)
    return mock


def test_sync_mirrors_for_five_minutes_and_returns_the_summary(
    dagbag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = replaced(monkeypatch, clinic_airflow.inventory, "mirror_inventory", {"pages": 3})
    assert function_of(dagbag, "sync_inventory", "mirror")() == {"pages": 3}
    mirror.assert_called_once_with(300)


def test_sync_publishes_its_asset_and_has_time_for_its_run(dagbag: DagBag) -> None:
    dag = dagbag.dags["sync_inventory"]
    (task,) = dag.tasks
    assert [asset.name for asset in task.outlets] == ["shared_inventory"]
    assert task.execution_timeout.total_seconds() > 300
    assert dag.max_active_runs == 1
    assert not dag.is_paused_upon_creation


def test_reconcile_takes_its_threshold_and_dry_run_from_the_form(
    dagbag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconcile = replaced(monkeypatch, clinic_airflow.inventory, "reconcile_inventory", {"d": 0})
    call = function_of(dagbag, "reconcile_inventory", "compare_and_heal")
    assert call(params={"threshold": 5, "dry_run": True}) == {"d": 0}
    reconcile.assert_called_once_with(5, dry_run=True)


def test_history_is_pruned_whether_or_not_the_comparison_succeeds(
    dagbag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    prune = replaced(monkeypatch, clinic_airflow.inventory, "prune_history", 3)
    assert function_of(dagbag, "reconcile_inventory", "prune")() == 3
    prune.assert_called_once_with()
    dag = dagbag.dags["reconcile_inventory"]
    assert dag.get_task("prune").upstream_task_ids == set()


def test_cleaning_takes_the_days_from_the_form(
    dagbag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = replaced(monkeypatch, clinic_airflow.housekeeping, "clean_metadata", None)
    logs = replaced(monkeypatch, clinic_airflow.housekeeping, "clean_logs", 4)
    function_of(dagbag, "clean_airflow_db", "clean_metadata")(params={"keep_days": 3})
    assert function_of(dagbag, "clean_airflow_db", "clean_logs")(params={"keep_days": 3}) == 4
    metadata.assert_called_once_with("airflow_metadata", 3)
    logs.assert_called_once_with(3)


def test_a_permanent_error_is_not_retried_and_a_transient_one_is(dagbag: DagBag) -> None:
    (task,) = dagbag.dags["sync_inventory"].tasks
    permanent = task.retry_policy.evaluate(PermanentError("key"), 1, 3)
    transient = task.retry_policy.evaluate(TransientError("away"), 1, 3)
    assert permanent.action is RetryAction.FAIL
    assert "a person has to change something" in permanent.reason
    assert transient.action is not RetryAction.FAIL


@pytest.mark.parametrize(
    ("dag_id", "queue"),
    [("drain_invoices", "invoice_queue"), ("drain_medical_records", "medical_records_queue")],
)
def test_a_drain_stores_what_waits_in_its_own_queue(
    dagbag: DagBag, monkeypatch: pytest.MonkeyPatch, dag_id: str, queue: str
) -> None:
    drain = replaced(monkeypatch, clinic_airflow.documents, "drain_documents", {"stored": 2})
    assert function_of(dagbag, dag_id, "drain")() == {"stored": 2}
    drain.assert_called_once_with(queue, 300)
    assert dagbag.dags[dag_id].get_task("wait").queue_name == queue


def test_notifications_are_told_for_five_minutes(
    dagbag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify = replaced(monkeypatch, clinic_airflow.documents, "notify", {"applied": 2})
    assert function_of(dagbag, "drain_notifications", "drain")() == {"applied": 2}
    notify.assert_called_once_with(300)


@pytest.mark.parametrize(
    "dag_id", ["drain_invoices", "drain_medical_records", "drain_notifications"]
)
def test_a_drain_waits_without_a_worker_and_an_idle_hour_is_no_failure(
    dagbag: DagBag, dag_id: str
) -> None:
    dag = dagbag.dags[dag_id]
    wait, drain = dag.get_task("wait"), dag.get_task("drain")
    assert wait.deferrable
    assert wait.soft_fail
    assert wait.timeout == 3600
    assert wait.execution_timeout.total_seconds() > wait.timeout
    assert drain.execution_timeout.total_seconds() > 300
    assert wait.downstream_task_ids == {"drain"}
    assert dag.max_active_runs == 1
    assert not dag.is_paused_upon_creation


def test_a_replay_hands_on_the_form_the_plan_the_run_and_the_answer(
    dagbag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = replaced(monkeypatch, clinic_airflow.documents, "replay_parked", 7)
    ti = create_autospec(RuntimeTaskInstance, instance=True)
    ti.xcom_pull.return_value = {"chosen_options": ["Approve"]}
    call = function_of(dagbag, "replay_parked_documents", "replay")
    assert call({"count": 7}, params={"why": "x"}, dag_run="the run", ti=ti) == 7
    replay.assert_called_once_with(
        {"why": "x"}, {"count": 7}, "the run", {"chosen_options": ["Approve"]}
    )
    ti.xcom_pull.assert_called_once_with(task_ids="approve")


def test_a_replay_is_dry_by_default_and_wants_a_reason(dagbag: DagBag) -> None:
    dag = dagbag.dags["replay_parked_documents"]
    assert dag.params["dry_run"] is True
    with pytest.raises(ParamValidationError):
        dag.params.get_param("why").resolve()
    for queue in ("invoice_queue", "medical_records_queue", "notification_queue"):
        assert dag.params.get_param("queue").resolve(queue) == queue
    with pytest.raises(ParamValidationError):
        dag.params.get_param("queue").resolve("documents.unrouted")


def test_a_replay_is_reached_by_itself_or_after_approval(dagbag: DagBag) -> None:
    dag = dagbag.dags["replay_parked_documents"]
    assert dag.get_task("decide").downstream_task_ids == {"approve", "replay"}
    assert dag.get_task("approve").downstream_task_ids == {"replay"}
    assert dag.get_task("replay").trigger_rule == "none_failed_min_one_success"
    assert dag.get_task("approve").defaults == ["Reject"]  # nobody answered: no


def test_a_backup_takes_its_form_its_run_and_its_message(
    dagbag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = replaced(monkeypatch, clinic_airflow.backups, "take_backup", {"state": "stored"})
    call = function_of(dagbag, "backup_odoo", "take")
    form, run, events = {"kind": "full", "note": ""}, object(), {}
    assert call(form, run, events) == {"state": "stored"}
    take.assert_called_once_with(form, run, events)


def test_a_backup_that_failed_fails_its_run_though_odoo_is_told(
    dagbag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = replaced(monkeypatch, clinic_airflow.backup_requests, "tell_odoo", 2)
    dag = dagbag.dags["backup_odoo"]
    tell = dag.get_task("tell")
    assert tell.python_callable() == 2
    told.assert_called_once_with()
    # A teardown: it runs whatever became of the backup, and does not decide about the run.
    assert tell.is_teardown
    assert not tell.on_failure_fail_dagrun
    assert tell.upstream_task_ids == {"take"}
    assert dag.max_active_runs == 1
    assert dag.get_task("take").execution_timeout.total_seconds() >= 6 * 3600


@pytest.mark.parametrize(
    ("name", "value"), [("kind", "half"), ("kind", None), ("note", "x" * 201), ("note", 5)]
)
def test_a_backup_refuses_a_form_that_means_nothing(
    dagbag: DagBag, name: str, value: object
) -> None:
    param = dagbag.dags["backup_odoo"].params.get_param(name)
    param.resolve()
    with pytest.raises(ParamValidationError):
        param.resolve(value)


def test_expiry_is_told_what_the_form_says_and_who_started_it(
    dagbag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    expire = replaced(monkeypatch, clinic_airflow.retention, "expire", {"expired": 2})
    call, run = function_of(dagbag, "expire_backups", "expire"), object()
    assert call(params={"dry_run": True}, dag_run=run) == {"expired": 2}
    expire.assert_called_once_with({"dry_run": True}, run)
    assert dagbag.dags["expire_backups"].params["dry_run"] is True
    assert dagbag.dags["expire_backups"].max_active_runs == 1


def test_the_check_of_backups_is_told_of_the_last_good_one(
    dagbag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = replaced(monkeypatch, clinic_airflow.retention, "check_backups", ["backups/rpo"])
    call = function_of(dagbag, "check_backups", "check")
    assert call(prev_start_date_success=None) == ["backups/rpo"]
    check.assert_called_once_with(None)
