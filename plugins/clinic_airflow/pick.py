"""A choice among what an earlier task found: Airflow's own takes options known at parse time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


class PickOperator(HITLOperator):
    """Asks a person to choose one of the options that another task found.

    Airflow's form cannot be filled at run time; the options of a task that waits for a person can,
    for they are written when the task begins to wait.

    Args:
        options_from: The task whose XCom ``options`` they are, best first.
    """

    def __init__(self, *, options_from: str, **kwargs: Any) -> None:
        kwargs.setdefault("response_timeout", timedelta(days=1))
        kwargs.setdefault("options", ["-"])  # the constructor wants one; replaced before it is seen
        super().__init__(**kwargs)
        self.options_from = options_from

    def execute(self, context: Context) -> Any:
        """Ask."""
        self._find_options(context)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> str:  # type: ignore[override]
        """Return the option that was chosen."""
        self._find_options(context)  # it was another process that asked
        answer = super().execute_complete(context, event)
        return str(answer["chosen_options"][0])

    def _find_options(self, context: Context) -> None:
        found = context["ti"].xcom_pull(task_ids=self.options_from, key="options")
        self.options = list(found or [])
        self.validate_options()
