"""The stream of events."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from inventory_api.auth import Principal, Scope, require
from inventory_api.problems import documented

router = APIRouter(prefix="/api", tags=["events"])


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events as they happen",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": "id: 7\nevent: inventory.reloaded\ndata: {}\n\n",
                }
            },
        },
        **documented(401, 403, 422, 503),
    },
)
async def events(
    request: Request,
    principal: Annotated[Principal, require(Scope.INVENTORY_READ)],
    last_event_id: Annotated[int | None, Header(ge=0, le=2**62)] = None,
    after: Annotated[
        int | None, Query(ge=0, le=2**62, description="As Last-Event-ID, for who cannot send it.")
    ] = None,
) -> StreamingResponse:
    """Events as they happen.

    Kinds: `inventory.changed`, `inventory.reloaded`, `low_stock.changed`, `movement.changed`.

    With `Last-Event-ID` what was missed comes first; `reset` says that it is not kept any more:
    read everything again. A comment each 15 s shows that the stream lives. It ends
    with its token: come back with a new one and `Last-Event-ID`.
    """
    hub = request.app.state.hub
    listener = hub.join()
    seen = last_event_id if last_event_id is not None else after
    return StreamingResponse(
        hub.stream(listener, seen, principal.ends_at - time.time()),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
