"""How the API is, who is asking, and what Prometheus reads."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import psycopg_pool
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from inventory_api.auth import SignedIn
from inventory_api.models import Health, Me
from inventory_api.problems import documented
from inventory_api.routes.parameters import Db, as_of

router = APIRouter()

STALE_AFTER_S = 60
"""The mirror confirms itself each 20 s: after three silences it is not following."""


@router.get(
    "/api/health", response_model=Health, tags=["system"], responses={503: {"model": Health}}
)
async def health(request: Request, db: Db, response: Response) -> Health:
    """Whether the API can answer, and how fresh what it answers is. Needs no token."""
    fresh, is_up = None, True
    try:
        async with db.snapshot() as connection:
            fresh = await as_of(connection)
    except (psycopg.Error, psycopg_pool.PoolTimeout):
        is_up = False
        response.status_code = 503
    age_s = (datetime.now(UTC) - fresh).total_seconds() if fresh else None
    is_stale = age_s is None or age_s > STALE_AFTER_S
    response.headers["Cache-Control"] = "no-store"
    return Health(
        status="down" if not is_up else "stale" if is_stale else "ok",
        database=is_up,
        as_of=fresh,
        age_s=None if age_s is None else round(age_s, 1),
        listeners=request.app.state.hub.listeners,
    )


@router.get("/api/me", response_model=Me, tags=["system"], responses=documented(401))
async def me(principal: SignedIn) -> Me:
    """Who is asking and what they may do. Needs a token, and no scope."""
    return Me(
        name=principal.name,
        login=principal.login,
        scopes=sorted(principal.scopes),
        language=principal.language,
    )


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """For Prometheus, on the loopback address only: the gateway does not lead here."""
    return Response(
        generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST
    )
