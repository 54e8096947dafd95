"""The part of the shared database where alerts and what people were told lie; SQL in alerts.sql."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg

from clinic.alerts.model import Alert, Severity
from clinic.alerts.outage import Kind, Outage, Part
from clinic.alerts.report import Report
from clinic.alerts.send import Delivery, Settled
from clinic.clients.locks import SENDER_LOCK
from clinic.clients.shared_db import SharedDb
from clinic.errors import TransientError


class AlertsDb(SharedDb):
    """Keeps what is wrong and who was told. A commit is on disk when it returns.

    Args:
        conninfo: A libpq address, as the role ``clinica_sync``.
        statement_timeout_s: The longest that any one statement may take.
    """

    def __init__(self, conninfo: str, *, statement_timeout_s: float = 30) -> None:
        super().__init__(
            conninfo, name="alerts", statement_timeout_s=statement_timeout_s, is_durable=True
        )
        self._locked_on: psycopg.Connection[dict[str, Any]] | None = None

    def become_sender(self) -> None:
        """Become the one that sends, until the connection ends.

        Raises:
            TransientError: The database is out of reach, or another process sends.
        """
        with self._doing("becoming the one that sends alerts") as connection:
            if self._locked_on is connection:
                return
            if not self._queries.try_alerts_lock(connection, lock_id=SENDER_LOCK):
                raise TransientError(
                    "Shared database: another process sends alerts (it holds advisory lock "
                    f"{SENDER_LOCK}). Wait until it ends, or end it."
                )
            self._locked_on = connection

    # What is wrong

    def raise_alert(
        self, alert: Alert, source: str, at: datetime, report: Report | None = None
    ) -> bool:
        """Raise an alert, or count it once more. False for a report that was counted already."""
        with self._doing("raising an alert") as connection, connection.transaction():
            if report is not None and not self._queries.note_report(
                connection, report_id=report.report_id, at=at
            ):
                return False
            outage_id = self._queries.open_outage(connection, cause=alert.cause, at=at)
            self._queries.leave_other_outages(connection, at=at, key=alert.key, outage_id=outage_id)
            self._queries.raise_alert(
                connection,
                outage_id=outage_id,
                key=alert.key,
                source=source,
                severity=alert.severity.value,
                title=alert.title,
                detail=alert.detail,
                runbook=alert.runbook,
                dag_id=report and report.dag_id,
                task_id=report and report.task_id,
                run_id=report and report.run_id,
                map_index=report and report.map_index,
                at=at,
            )
        return True

    def resolve(self, key: str, at: datetime) -> bool:
        """Say that something is right again; return whether it was open."""
        with self._doing("resolving an alert") as connection:
            return bool(self._queries.resolve_alert(connection, at=at, key=key))

    def resolve_others(self, source: str, still_open: Iterable[str], at: datetime) -> int:
        """Resolve what a source raised once and does not raise any more; return how many."""
        with self._doing("resolving alerts") as connection:
            return int(
                self._queries.resolve_others(
                    connection, at=at, source=source, keys=list(still_open)
                )
            )

    def open_alerts(self, source: str) -> list[dict[str, Any]]:
        """Return key, dag_id, task_id and last_at of what a source has open."""
        with self._doing("reading open alerts") as connection:
            return list(self._queries.open_alerts(connection, source=source))

    def list_open(self) -> list[dict[str, Any]]:
        """Return everything that is open, for people."""
        with self._doing("reading open alerts") as connection:
            return list(self._queries.list_open_alerts(connection))

    def unknown(self, reports: Sequence[Report]) -> list[Report]:
        """Return those reports that were not counted yet."""
        with self._doing("looking for known failures") as connection:
            rows = self._queries.known_reports(
                connection, report_ids=[report.report_id for report in reports]
            )
            known = {row["report_id"] for row in rows}
        return [report for report in reports if report.report_id not in known]

    def looked_to(self, name: str) -> datetime | None:
        """Return up to when Airflow's tables were looked through."""
        with self._doing("reading how far was looked") as connection:
            found: datetime | None = self._queries.looked_to(connection, name=name)
            return found

    def set_looked_to(self, name: str, at: datetime) -> None:
        """Keep up to when Airflow's tables were looked through."""
        with self._doing("keeping how far was looked") as connection:
            self._queries.set_looked_to(connection, name=name, at=at)

    # What people are told

    def open_outages(self) -> list[Outage]:
        """Return every outage that is not closed."""
        with self._doing("reading outages") as connection:
            rows = list(self._queries.open_outages(connection))
            return self._with_parts(connection, rows)

    def outage(self, outage_id: str) -> Outage | None:
        """Return one outage, closed or not."""
        with self._doing("reading an outage") as connection:
            row = self._queries.one_outage(connection, outage_id=outage_id)
            return self._with_parts(connection, [row])[0] if row else None

    def _with_parts(
        self, connection: psycopg.Connection[dict[str, Any]], rows: list[dict[str, Any]]
    ) -> list[Outage]:
        parts: dict[str, list[Part]] = {str(row["outage_id"]): [] for row in rows}
        ids = [row["outage_id"] for row in rows]
        for row in self._queries.parts_of(connection, outage_ids=ids):
            parts[str(row["outage_id"])].append(_part(row))
        return [
            Outage(
                outage_id=str(row["outage_id"]),
                cause=row["cause"],
                first_at=row["first_at"],
                closed_at=row["closed_at"],
                parts=tuple(parts[str(row["outage_id"])]),
                told_at=row["told_at"],
                told_severity=Severity(row["told_severity"]) if row["told_severity"] else None,
                closed_lately=row["closed_lately"],
            )
            for row in rows
        ]

    def tell(
        self,
        outage: Outage,
        kind: Kind,
        at: datetime,
        targets: Iterable[tuple[str, str]],
        told_already: Iterable[tuple[str, str]] = (),
    ) -> str:
        """Write down a message and where it goes, and close the outage if it says so."""
        with self._doing("writing down a message") as connection, connection.transaction():
            message_id = self._queries.add_message(
                connection,
                outage_id=outage.outage_id,
                kind=kind.value,
                severity=outage.severity.value,
                at=at,
            )
            self._queries.drop_older(connection, outage_id=outage.outage_id, message_id=message_id)
            for channel, target in told_already:
                self._queries.add_sent_delivery(
                    connection, message_id=message_id, channel=channel, target=target, at=at
                )
            for channel, target in targets:
                self._queries.add_delivery(
                    connection, message_id=message_id, channel=channel, target=target, at=at
                )
            if kind is Kind.CLOSED:
                self._queries.close_outage(connection, outage_id=outage.outage_id, at=at)
            return str(message_id)

    def close_untold(self, outage: Outage, at: datetime) -> None:
        """Close an outage of which nobody was told."""
        with self._doing("closing an outage") as connection:
            self._queries.close_outage(connection, outage_id=outage.outage_id, at=at)

    def due(self, at: datetime) -> list[Delivery]:
        """Return what has to be sent now; whoever asks holds the lock."""
        with self._doing("reading what is to be sent") as connection:
            return [
                Delivery(
                    message_id=str(row["message_id"]),
                    outage_id=str(row["outage_id"]),
                    kind=Kind(row["kind"]),
                    channel=row["channel"],
                    target=row["target"],
                    attempts=row["attempts"],
                    created_at=row["created_at"],
                )
                for row in self._queries.due_deliveries(connection, moment=at)
            ]

    def claim(self, delivery: Delivery) -> None:
        """Say that a message is about to be sent."""
        with self._doing("claiming a message") as connection:
            self._queries.claim_delivery(
                connection,
                message_id=delivery.message_id,
                channel=delivery.channel,
                target=delivery.target,
            )

    def settle(self, delivery: Delivery, settled: Settled) -> None:
        """Keep what became of a message on one channel."""
        with self._doing("keeping what became of a message") as connection:
            self._queries.settle_delivery(
                connection,
                message_id=delivery.message_id,
                channel=delivery.channel,
                target=delivery.target,
                state=settled.state,
                error=settled.error,
                next_at=settled.next_at,
                sent_at=settled.sent_at,
            )

    def forget_old(self, now: datetime) -> int:
        """Forget reports older than nine days and outages closed a year ago; return how many."""
        with self._doing("forgetting old alerts") as connection:
            reports = self._queries.prune_reports(connection, before=now - timedelta(days=9))
            outages = self._queries.prune_outages(connection, before=now - timedelta(days=365))
            return int(reports) + int(outages)


def _part(row: dict[str, Any]) -> Part:
    return Part(
        key=row["key"],
        source=row["source"],
        severity=Severity(row["severity"]),
        title=row["title"],
        detail=row["detail"],
        runbook=row["runbook"],
        dag_id=row["dag_id"],
        task_id=row["task_id"],
        run_id=row["run_id"],
        map_index=row["map_index"],
        count=row["count"],
        first_at=row["first_at"],
        last_at=row["last_at"],
        resolved_at=row["resolved_at"],
    )
