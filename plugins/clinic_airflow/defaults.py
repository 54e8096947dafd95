"""The settings every DAG of this project starts from."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from clinic_airflow.failures import report_failure

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "clinic",
    "retries": 3,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
    "execution_timeout": timedelta(minutes=30),
    # send_alerts does the rest, and finds out by itself what works again.
    "on_failure_callback": report_failure,
    "retry_policy": ExceptionRetryPolicy(
        rules=[
            RetryRule(
                exception="clinic.errors.PermanentError",
                action=RetryAction.FAIL,
                reason="Trying again cannot help; a person has to change something",
            )
        ]
    ),
}


class Tag(StrEnum):
    """What a DAG is about; the DAG list filters by it."""

    INVENTORY = "inventory"
    ODOO = "odoo"
    DOCUMENTS = "documents"
    HOUSEKEEPING = "housekeeping"
    BACKUPS = "backups"
    ALERTS = "alerts"
