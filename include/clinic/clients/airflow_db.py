"""Airflow's own database, read only: what failed, also where the failed task could not say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import aiosql
import psycopg
from psycopg.rows import dict_row

from clinic.alerts.cause import KILLED
from clinic.alerts.report import Report
from clinic.clients.shared_db import SQL_DIR, translated

_MOST: Final = 5000
_ADVICE: Final = (
    "check the connection airflow_metadata under Admin, Connections, and whether Airflow was "
    "upgraded"
)


class AirflowDb:
    """One connection to Airflow's database, opened when first needed.

    Args:
        conninfo: A libpq address.
        statement_timeout_s: The longest that any one statement may take.
    """

    def __init__(self, conninfo: str, *, statement_timeout_s: float = 20) -> None:
        self._conninfo = conninfo
        self._options = (
            f"-c statement_timeout={int(statement_timeout_s * 1000)}"
            " -c default_transaction_read_only=on -c timezone=UTC"
        )
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        self._queries = aiosql.from_path(SQL_DIR / "airflow", "psycopg")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    @contextmanager
    def _reading(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        try:
            if self._connection is None:
                self._connection = psycopg.connect(
                    self._conninfo,
                    autocommit=True,
                    row_factory=dict_row,
                    options=self._options,
                    connect_timeout=10,
                    application_name="clinic alerts",
                )
            yield self._connection
        except psycopg.Error as error:
            self.close()
            raise translated("Reading Airflow's database", error, _ADVICE) from error

    def failed(self, since: datetime, until: datetime) -> list[Report]:
        """Return the tasks that failed for good within that time, the oldest first.

        Why they failed is only in their logs and in the reports that they wrote themselves.
        """
        with self._reading() as connection:
            rows = list(
                self._queries.failed_tasks(connection, since=since, until=until, most=_MOST)
            )
        return [
            Report(
                dag_id=row["dag_id"],
                task_id=row["task_id"],
                run_id=row["run_id"],
                map_index=row["map_index"],
                try_number=row["try_number"],
                at=row["end_date"],
                cause=KILLED,
                detail="",
            )
            for row in rows
        ]

    def recovered(self, dag_ids: Iterable[str]) -> dict[tuple[str, str], datetime]:
        """Return when each task of these DAGs last succeeded, by DAG and task."""
        with self._reading() as connection:
            rows = list(self._queries.recovered_tasks(connection, dag_ids=list(dag_ids)))
        return {(row["dag_id"], row["task_id"]): row["recovered_at"] for row in rows}

    def known_dags(self, dag_ids: Iterable[str]) -> set[str]:
        """Return which of these DAGs Airflow still has a file of."""
        with self._reading() as connection:
            rows = list(self._queries.known_dags(connection, dag_ids=list(dag_ids)))
        return {row["dag_id"] for row in rows}

    def import_errors(self) -> dict[str, str]:
        """Return the files that Airflow cannot read, and what stands in its way."""
        with self._reading() as connection:
            rows = list(self._queries.import_errors(connection))
        return {row["filename"]: row["stacktrace"] or "" for row in rows}
