"""Variables and connections of Airflow: what is not there, told from what could not be looked up.

Airflow's own look-up takes an API server that is away or broken for "not there": each place where
it looks is passed over when it fails, and after the last ``Variable.get`` returns its default and
``get_connection`` raises ``AirflowNotFoundException``. (``_get_variable`` and ``_get_connection``
in ``airflow.sdk.execution_time.context``; only a 401 or 403 is passed on.) So a restart of Airflow
would look like settings that somebody deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook, Connection, Variable
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError, ErrorType
from clinic.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from airflow.sdk.execution_time.comms import GetConnection, GetVariable

_ABSENT = {ErrorType.VARIABLE_NOT_FOUND, ErrorType.CONNECTION_NOT_FOUND}


def variable(name: str) -> str | None:
    """Return a Variable; None only where Airflow says that there is none.

    Raises:
        TransientError: Airflow's API server could not be asked.
    """
    from airflow.sdk.execution_time.comms import GetVariable

    found: str | None = Variable.get(name, default=None)
    if found is None and _is_there(GetVariable(key=name), f"the Airflow Variable {name}"):
        found = Variable.get(name, default=None)  # the server has come back meanwhile
    return found


def connection(conn_id: str) -> Connection | None:
    """Return a connection; None only where Airflow says that there is none.

    Raises:
        TransientError: Airflow's API server could not be asked.
    """
    from airflow.sdk.execution_time.comms import GetConnection

    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        if not _is_there(GetConnection(conn_id=conn_id), f"the Airflow connection {conn_id!r}"):
            return None
        return BaseHook.get_connection(conn_id)


def required(conn_id: str) -> Connection:
    """Return a connection.

    Raises:
        TransientError: Airflow's API server could not be asked.
        PermanentError: There is none.
    """
    found = connection(conn_id)
    if found is None:
        raise PermanentError(
            f"There is no Airflow connection {conn_id!r}: add it under Admin, Connections."
        )
    return found


class LooksUp:
    """For hooks, before their base class: they look connections up as :func:`required` does."""

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """Return a connection; see :func:`required`."""
        return required(conn_id)


def _is_there(message: GetVariable | GetConnection, what: str) -> bool:
    """Ask the API server itself; False where it says no, and where there is none to ask."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import ErrorResponse

    server = getattr(task_runner, "SUPERVISOR_COMMS", None)
    if server is None:  # no task: a command or a test, where the environment says all
        return False
    try:
        answer = server.send(message)
    except (AirflowRuntimeError, OSError) as error:
        raise TransientError(
            f"Looking up {what}: Airflow's API server did not answer ({_said(error)}). Trying "
            "again may help; is airflow-api up?"
        ) from error
    if not isinstance(answer, ErrorResponse):
        return True
    if answer.error in _ABSENT:
        return False
    raise TransientError(
        f"Looking up {what}: Airflow's API server did not say ({answer.error.value}). Trying again "
        "may help; is airflow-api up?"
    )


def _said(error: Exception) -> str:
    if isinstance(error, AirflowRuntimeError):
        detail = error.error.detail or {}
        return str(detail.get("message") or error.error.error.value)
    return str(error) or type(error).__name__
