"""Movements that are asked for, what became of them, and conflicts that a person resolves."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal
from uuid import UUID, uuid4

import psycopg
from fastapi import APIRouter, Header, Query, Request, Response

from inventory_api import db, models, paging
from inventory_api.answers import tagged
from inventory_api.auth import Principal, Scope, require
from inventory_api.problems import Problem, documented
from inventory_api.routes.parameters import After, Db, Limit, as_of

router = APIRouter(prefix="/api", tags=["movements"])

Reader = require(Scope.INVENTORY_READ)
Writer = Annotated[Principal, require(Scope.INVENTORY_WRITE)]


@router.post(
    "/stock-movements",
    status_code=202,
    response_model=models.MovementRequest,
    responses={
        202: {"headers": {"Location": {"schema": {"type": "string"}}}},
        **documented(400, 401, 403, 413, 422, 503),
    },
)
async def ask_for_movement(
    response: Response,
    db_: Db,
    principal: Writer,
    wanted: models.NewMovement,
    idempotency_key: Annotated[
        str, Header(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$", examples=["a-uuid"])
    ],
) -> models.MovementRequest:
    """Ask for a movement. Odoo books it within seconds; `Location` tells what becomes of it.

    The same `Idempotency-Key` with the same body asks for nothing new and is answered alike; with
    another body it is refused (422). Keys are a client's own.
    """
    asked = wanted.model_dump(mode="json", exclude_none=True)
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    # A person behind a program: two people must not meet in one key.
    client = f"{principal.client}/{principal.subject}"[:255]
    new = uuid4()
    async with db_.writing() as connection:
        key = {"client": client, "idempotency_key": idempotency_key}
        claimed = await db.row(connection, "api_claim_key", **key, digest=digest, request_id=new)
        if claimed is None:
            earlier = await db.row(connection, "api_claimed_key", **key)
            assert earlier is not None
            if earlier["digest"] != digest:
                raise Problem(
                    422,
                    "This Idempotency-Key was used for another movement. Take a new key.",
                )
            request_id = earlier["request_id"]
        else:
            request_id = new
            await db.execute(
                connection,
                "api_insert_request",
                id=new,
                **key,
                person=principal.name[:255],
                source="dashboard" if principal.client == "gateway" else "api",
                **wanted.model_dump(),
            )
        found = await db.row(connection, "api_request", id=request_id)
    response.headers["Location"] = f"/api/movement-requests/{request_id}"
    response.headers["Cache-Control"] = "no-store"
    return models.MovementRequest.model_validate(found)


@router.get(
    "/movement-requests/{id}",
    response_model=models.MovementRequest,
    responses=documented(401, 403, 404, 422, 503),
    dependencies=[Reader],
)
async def movement_request(request: Request, db_: Db, id: UUID) -> Response:
    """What became of a movement that was asked for."""
    async with db_.snapshot() as connection:
        found = await db.row(connection, "api_request", id=id)
    if found is None:
        raise Problem(404, f"There is no request {id}.")
    return tagged(request, models.MovementRequest.model_validate(found))


@router.get(
    "/conflicts",
    response_model=models.Conflicts,
    responses=documented(401, 403, 422, 503),
    dependencies=[Reader],
)
async def conflicts(
    request: Request,
    db_: Db,
    state: Annotated[Literal["open", "resolved"] | None, Query()] = "open",
    limit: Limit = 50,
    after: After = None,
) -> Response:
    """Movements that Odoo could not book, the newest first."""
    (after_id,) = paging.decode(after, int)
    async with db_.snapshot() as connection:
        fresh = await as_of(connection)
        found = await db.rows(
            connection, "api_conflicts", state=state, after_id=after_id, count=limit + 1
        )
    items = [models.Conflict.model_validate(each) for each in found[:limit]]
    following = paging.encode(items[-1].id) if len(found) > limit else None
    return tagged(request, models.Conflicts(items=items, next=following, as_of=fresh))


@router.post(
    "/conflicts/{id}/resolution",
    response_model=models.MovementRequest,
    responses=documented(400, 401, 403, 404, 409, 413, 422, 503),
)
async def resolve(
    response: Response,
    db_: Db,
    principal: Writer,
    id: models.ConflictId,
    decision: models.Resolution,
) -> models.MovementRequest:
    """Resolve a conflict; the answer is the request that goes on (a recount's is a new one).

    The same decision again changes nothing; another one is refused (409).
    """
    try:
        async with db_.writing() as connection:
            going_on = await db.row(
                connection,
                "api_resolve",
                id=id,
                decision=decision.resolution,
                person=principal.name[:255],
                note=decision.note,
                counted=decision.counted,
                expected=decision.expected,
            )
            assert going_on is not None
            found = await db.row(connection, "api_request", id=going_on["request_id"])
    except psycopg.errors.NoDataFound:
        raise Problem(404, f"There is no conflict {id}.") from None
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        raise Problem(409, f"{error.diag.message_primary}.") from None
    response.headers["Cache-Control"] = "no-store"
    return models.MovementRequest.model_validate(found)
