"""A server of Airflow that is away is not a setting that was deleted.

What a task's supervisor answers stands here as Airflow's own messages; the look-up is Airflow's.
"""

from collections.abc import Callable
from typing import Any
from unittest.mock import create_autospec

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import (
    CommsDecoder,
    ErrorResponse,
    GetConnection,
    GetVariable,
    VariableResult,
)
from clinic.alerts.report import describe
from clinic.errors import PermanentError, TransientError
from clinic_airflow import lookup
from clinic_airflow.hooks.odoo import OdooHook
from clinic_airflow.hooks.shared_db import SharedDbHook

AWAY = ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"message": "Connection refused"})
FOUND = VariableResult(key="v", value="{}")
ABSENT = {
    GetVariable: ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND),
    GetConnection: ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND),
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    comms = create_autospec(CommsDecoder, instance=True)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
    return comms


LOOK_UPS: dict[str, Callable[[], object]] = {
    "a Variable": lambda: lookup.variable("v"),
    "a connection": lambda: lookup.connection("c"),
    "a hook's": lambda: SharedDbHook("smtp_default").conninfo(),
    "another hook's": lambda: OdooHook("rabbitmq_default").get_conn(),
}


@pytest.mark.parametrize("look_up", LOOK_UPS.values(), ids=LOOK_UPS.keys())
@pytest.mark.parametrize("is_raised", [True, False])
def test_a_server_that_is_away_may_be_asked_again(
    server: Any, look_up: Callable[[], object], is_raised: bool
) -> None:
    server.send.side_effect = AirflowRuntimeError(AWAY) if is_raised else None
    server.send.return_value = AWAY
    with pytest.raises(TransientError, match="API server did not") as raised:
        look_up()
    assert describe(raised.value)[0] == "airflow"


def test_what_the_server_says_is_not_there_is_not_there(server: Any) -> None:
    server.send.side_effect = lambda message: ABSENT.get(type(message))
    assert lookup.variable("v") is None
    assert lookup.connection("c") is None
    with pytest.raises(PermanentError, match="no Airflow connection 'c'"):
        SharedDbHook("c").conninfo()


def test_a_server_that_comes_back_is_believed(server: Any) -> None:
    answers = iter([AWAY, FOUND, FOUND])
    server.send.side_effect = lambda message: (
        next(answers) if isinstance(message, GetVariable) else None
    )
    assert lookup.variable("v") == "{}"
    assert next(answers, None) is None


def test_without_a_server_the_environment_says_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_V", "{}")
    assert lookup.variable("v") == "{}"
    assert lookup.variable("w") is None
    assert lookup.connection("c") is None
