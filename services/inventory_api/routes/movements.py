"""Finished movements, and the timeline of a document."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request, Response

from inventory_api import models, paging
from inventory_api.answers import tagged
from inventory_api.auth import Scope, require
from inventory_api.db import rows
from inventory_api.problems import FieldError, Problem, documented
from inventory_api.routes.parameters import After, Db, Limit, Moment, OptionalId, Text, as_of

router = APIRouter(prefix="/api")


def moment_of(cursor: str | None) -> tuple[datetime | None, int | None]:
    """Read a cursor of time and id."""
    text, number = paging.decode(cursor, str, int)
    try:
        return (None if text is None else datetime.fromisoformat(text)), number
    except ValueError:
        message = "is no cursor of this list"
        raise Problem(
            422, f"after {message}.", errors=[FieldError(where="query.after", message=message)]
        ) from None


@router.get(
    "/stock-movements",
    response_model=models.Movements,
    responses=documented(401, 403, 422, 503),
    tags=["movements"],
    dependencies=[require(Scope.INVENTORY_READ)],
)
async def stock_movements(
    request: Request,
    db: Db,
    medication_id: OptionalId = None,
    location_id: OptionalId = None,
    lot: Text = None,
    since: Moment = None,
    until: Moment = None,
    limit: Limit = 50,
    after: After = None,
) -> Response:
    """Finished movements, the newest first; `location_id` is where they came from or went to."""
    after_at, after_id = moment_of(after)
    async with db.snapshot() as connection:
        fresh = await as_of(connection)
        found = await rows(
            connection,
            "api_movements",
            medication_id=medication_id,
            location_id=location_id,
            lot=lot,
            since=since,
            until=until,
            after_at=after_at,
            after_id=after_id,
            count=limit + 1,
        )
    items = [models.Movement.model_validate(each) for each in found[:limit]]
    last = found[limit - 1] if len(found) > limit else None
    following = paging.encode(last["done_at"].isoformat(), last["id"]) if last else None
    return tagged(request, models.Movements(items=items, next=following, as_of=fresh))


@router.get(
    "/documents/{document_id}/timeline",
    response_model=models.Timeline,
    responses=documented(401, 403, 404, 422, 503),
    tags=["documents"],
    dependencies=[require(Scope.PATIENTS_READ)],
)
async def timeline(request: Request, db: Db, document_id: UUID) -> Response:
    """What happened to an invoice or medical record on its way to the store."""
    async with db.snapshot() as connection:
        found = await rows(connection, "api_timeline", document_id=document_id)
    if not found:
        raise Problem(404, f"Nothing is known of a document {document_id}.")
    items = [models.TimelineEvent.model_validate(each) for each in found]
    return tagged(request, models.Timeline(document_id=document_id, items=items))
