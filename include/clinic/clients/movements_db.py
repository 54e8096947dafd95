"""The part of the shared database where movement requests lie; SQL in movements.sql."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg

from clinic.clients.shared_db import SharedDb
from clinic.errors import PermanentError
from clinic.inventory.movements import Answer, Request


class MovementsDb(SharedDb):
    """Claims movement requests and notes what became of them. A commit is on disk on return.

    Args:
        conninfo: A libpq address, as the role ``clinica_sync``.
        statement_timeout_s: The longest that any one statement may take.
    """

    def __init__(self, conninfo: str, *, statement_timeout_s: float = 30) -> None:
        super().__init__(
            conninfo, name="movements", statement_timeout_s=statement_timeout_s, is_durable=True
        )
        self._listening_on: psycopg.Connection[dict[str, Any]] | None = None

    def wait(self, seconds: float) -> None:
        """Return when a request comes in, at the latest after so many seconds."""
        with self._doing("waiting for movement requests") as connection:
            if self._listening_on is not connection:
                self._queries.listen_movements(connection)
                self._listening_on = connection
                return  # what came in until now was not heard
            for _ in connection.notifies(timeout=seconds, stop_after=1):
                pass

    def claim(self, *, lease_s: float, count: int) -> Sequence[Request]:
        """Take what is due into hand, the oldest first; it comes free when the lease ends."""
        with self._doing("claiming movement requests") as connection:
            rows = self._queries.claim_movements(connection, lease_s=lease_s, count=count)
            requests = [Request(**row) for row in rows]
        return sorted(requests, key=lambda request: (request.created_at, request.id))

    def applied(self, request: Request, answer: Answer) -> bool:
        """Note that a request was booked; False when somebody else has it in hand by now."""
        with self._doing("noting a booked movement") as connection:
            return bool(
                self._queries.movement_applied(
                    connection,
                    picking=answer.picking,
                    moves=list(answer.moves),
                    id=request.id,
                    attempts=request.attempts,
                )
            )

    def refused(self, request: Request, answer: Answer) -> bool:
        """Note a conflict for a person to resolve; False when somebody else has it in hand."""
        with self.transaction("noting a conflict"), self._doing("noting a conflict") as connection:
            mine = self._queries.movement_refused(
                connection,
                code=answer.code,
                detail=str(answer.ours.get("detail", "")),
                id=request.id,
                attempts=request.attempts,
            )
            if mine:
                self._queries.open_conflict(
                    connection,
                    request_id=request.id,
                    code=answer.code,
                    ours=json.dumps(dict(answer.ours), default=str),
                    theirs=json.dumps(dict(answer.theirs), default=str),
                )
        return bool(mine)

    def put_off(self, request: Request, detail: str, pause_s: float) -> bool:
        """Give a request back, to be tried again after a pause."""
        with self._doing("putting a movement off") as connection:
            return bool(
                self._queries.movement_put_off(
                    connection,
                    detail=detail,
                    pause_s=pause_s,
                    id=request.id,
                    attempts=request.attempts,
                )
            )

    # For people

    def list_requests(self, state: str | None, count: int) -> list[dict[str, Any]]:
        """Return the newest requests, of one state or all."""
        with self._doing("listing movement requests") as connection:
            return list(self._queries.list_movements(connection, state=state, count=count))

    def show(self, request_id: UUID) -> dict[str, Any] | None:
        """Return one request with its newest conflict."""
        with self._doing("reading a movement request") as connection:
            found: dict[str, Any] | None = self._queries.show_movement(connection, id=request_id)
            return found

    def resolve(
        self,
        conflict_id: int,
        decision: str,
        person: str,
        *,
        note: str | None = None,
        counted: Decimal | None = None,
        expected: Decimal | None = None,
    ) -> UUID:
        """Carry out what a person decided; return the request that goes on.

        The same decision again changes nothing.

        Raises:
            PermanentError: No such conflict, or it was resolved otherwise.
        """
        with self._doing("resolving a conflict") as connection:
            try:
                follows: UUID = self._queries.resolve_conflict(
                    connection,
                    conflict_id=conflict_id,
                    decision=decision,
                    person=person,
                    note=note,
                    counted=counted,
                    expected=expected,
                )
            except (
                psycopg.errors.NoDataFound,
                psycopg.errors.ObjectNotInPrerequisiteState,
                psycopg.errors.InvalidParameterValue,
            ) as error:
                raise PermanentError(
                    f"Resolving conflict {conflict_id}: {error.diag.message_primary}. Trying again "
                    "cannot help; `clinic movements list` shows what is open."
                ) from error
        return follows
