"""Medications, their stock, locations, alerts and tiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from inventory_api import figures, models, paging
from inventory_api.answers import tagged
from inventory_api.auth import Scope, require
from inventory_api.db import row, rows
from inventory_api.problems import Problem, documented
from inventory_api.routes.parameters import After, Db, Id, Limit, OptionalId, Text, as_of, like

router = APIRouter(prefix="/api", tags=["inventory"], dependencies=[require(Scope.INVENTORY_READ)])

EXPIRING_DAYS = 90
ERRORS = documented(401, 403, 422, 503)
ONE = documented(401, 403, 404, 422, 503)
_FLAGS = ("negative", "expired", "out", "low", "expiring")  # the gravest first


def with_states(found: Mapping[str, Any]) -> dict[str, Any]:
    """Add all that is the matter to a row."""
    states = [flag for flag in _FLAGS if found[f"is_{flag}"]]
    return {**found, "states": states or ["ok"]}


@router.get("/medications", response_model=models.Medications, responses=ERRORS)
async def medications(
    request: Request,
    db: Db,
    q: Text = None,
    category: Text = None,
    location_id: OptionalId = None,
    lot: Text = None,
    expires_within_days: Annotated[int | None, Query(ge=0, le=3650)] = None,
    state: models.StockState | None = None,
    limit: Limit = 50,
    after: After = None,
) -> Response:
    """Medications by name, a page at a time.

    `q` looks for its words, in their order, in both names, code and barcode; accents and capitals
    do not matter. `location_id` also takes what lies below it. `expiring` means within 90 days.
    """
    after_name, after_id = paging.decode(after, str, int)
    now = datetime.now(UTC)
    within = None if expires_within_days is None else now + timedelta(days=expires_within_days)
    async with db.snapshot() as connection:
        fresh = await as_of(connection)
        found = await rows(
            connection,
            "api_medications",
            pattern=like(q),
            category=category,
            location_id=location_id,
            lot=lot,
            before=within,
            state=state,
            soon=now + timedelta(days=EXPIRING_DAYS),
            after_name=after_name,
            after_id=after_id,
            count=limit + 1,
        )
    items = [models.Medication.model_validate(with_states(each)) for each in found[:limit]]
    last = found[limit - 1] if len(found) > limit else None
    following = paging.encode(last["sort_name"], last["id"]) if last else None
    return tagged(request, models.Medications(items=items, next=following, as_of=fresh))


@router.get("/medications/{id}", response_model=models.MedicationDetail, responses=ONE)
async def medication(request: Request, db: Db, id: Id) -> Response:
    """One medication: stock by location and lot, reorder rules, use and outlook."""
    now = datetime.now(UTC)
    since = now - timedelta(days=figures.WINDOW_DAYS)
    async with db.snapshot() as connection:
        found = await row(
            connection, "api_medication", id=id, soon=now + timedelta(days=EXPIRING_DAYS)
        )
        if found is None:
            raise Problem(404, f"There is no medication {id}.")
        levels = await rows(connection, "api_levels", id=id)
        rules = await rows(connection, "api_rules", id=id)
        used = await rows(connection, "api_consumption", id=id, since=since)
        first = await row(connection, "api_first_movement", id=id)
        fresh = await as_of(connection)
    first_at = first["first_at"] if first else None
    outlook = figures.outlook(
        today=now.date(),
        known_since=first_at.date() if first_at else None,
        consumed=sum((day["quantity"] for day in used), Decimal(0)),
        batches=[
            figures.Batch(
                level["quantity"], level["expires_at"].date() if level["expires_at"] else None
            )
            for level in levels
        ],
        minimum=found["min_stock_level"],
        maximum=found["max_stock_level"],
    )
    return tagged(
        request,
        models.MedicationDetail.model_validate(
            with_states(found)
            | {"levels": levels, "rules": rules, "consumption": asdict(outlook), "as_of": fresh}
        ),
    )


@router.get("/medications/{id}/history", response_model=models.History, responses=ONE)
async def medication_history(
    request: Request, db: Db, id: Id, days: Annotated[int, Query(ge=1, le=730)] = 90
) -> Response:
    """The stock at the end of each of the past days."""
    today = datetime.now(UTC)
    first = today.date() - timedelta(days=days - 1)
    async with db.snapshot() as connection:
        found = await row(connection, "api_medication", id=id, soon=today)
        if found is None:
            raise Problem(404, f"There is no medication {id}.")
        changes = await rows(connection, "api_net_by_day", id=id, since=first)
        fresh = await as_of(connection)
    series = figures.history(
        found["stock_quantity"],
        [(change["day"], change["change"]) for change in changes],
        first,
        today.date(),
    )
    items = [models.HistoryDay(day=day, quantity=quantity) for day, quantity in series]
    return tagged(request, models.History(items=items, as_of=fresh))


@router.get("/locations", response_model=models.Locations, responses=ERRORS)
async def locations(request: Request, db: Db, limit: Limit = 200, after: After = None) -> Response:
    """Where stock lies."""
    (after_id,) = paging.decode(after, int)
    async with db.snapshot() as connection:
        fresh = await as_of(connection)
        found = await rows(connection, "api_locations", after_id=after_id, count=limit + 1)
    items = [models.Location.model_validate(each) for each in found[:limit]]
    following = paging.encode(items[-1].id) if len(found) > limit else None
    return tagged(request, models.Locations(items=items, next=following, as_of=fresh))


@router.get("/stock-alerts", response_model=models.Alerts, responses=ERRORS)
async def stock_alerts(
    request: Request,
    db: Db,
    location_id: OptionalId = None,
    limit: Limit = 50,
    after: After = None,
) -> Response:
    """Reorder rules that are not met."""
    (after_id,) = paging.decode(after, int)
    async with db.snapshot() as connection:
        fresh = await as_of(connection)
        found = await rows(
            connection,
            "api_alerts",
            location_id=location_id,
            after_id=after_id,
            count=limit + 1,
        )
    items = [models.Alert.model_validate(each) for each in found[:limit]]
    following = paging.encode(items[-1].rule_id) if len(found) > limit else None
    return tagged(request, models.Alerts(items=items, next=following, as_of=fresh))


@router.get("/summary", response_model=models.Summary, responses=ERRORS)
async def summary(request: Request, db: Db) -> Response:
    """How many medications each of the dashboard's lists has."""
    now = datetime.now(UTC)
    async with db.snapshot() as connection:
        found = await row(
            connection,
            "api_summary",
            days_30=now + timedelta(days=30),
            days_90=now + timedelta(days=90),
        )
        conflicts = await row(connection, "api_open_conflicts")
        fresh = await as_of(connection)
    assert found is not None
    assert conflicts is not None
    return tagged(request, models.Summary.model_validate({**found, **conflicts, "as_of": fresh}))
