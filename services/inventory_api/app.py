"""The app: what is wired to what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from inventory_api import problems
from inventory_api.auth import Keys, Verifier, http_keys
from inventory_api.db import Database
from inventory_api.events import Hub
from inventory_api.observe import BodyLimit, Metrics, Observer, SameOrigin
from inventory_api.problems import ProblemBody
from inventory_api.routes import events, inventory, movements, reports, requests, system
from inventory_api.settings import Settings
from inventory_api.static import pages

DESCRIPTION = """\
The clinic's stock: what there is, what is missing, what moved. Figures are mirrored from Odoo;
`as_of` says how fresh they are. Quantities are decimal strings, times are RFC 3339 in UTC, errors
are `application/problem+json` (RFC 9457). Lists are read on with `after=<next>`. A read sends an
`ETag`; with `If-None-Match` it answers 304 when nothing changed.
"""


def create_app(settings: Settings, keys: Keys | None = None) -> FastAPI:
    """Build the app; nothing is connected before it starts.

    Args:
        settings: Addresses and limits.
        keys: The signing keys; Keycloak's own when None.
    """
    metrics = Metrics()
    database = Database(settings)
    hub = Hub(settings, database, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await database.open()
        listening = asyncio.create_task(hub.run(), name="events")
        try:
            yield
        finally:
            hub.close()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await database.close()

    app = FastAPI(
        title="Inventory API",
        version="1",
        summary="Stock of the clinic's pharmacy",
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.metrics = metrics
    app.state.database = database
    app.state.hub = hub
    app.state.verifier = Verifier(settings, keys or Keys(http_keys(settings.jwks_url)))
    problems.install(app)
    for module in (system, inventory, movements, requests, reports, events):
        app.include_router(module.router)
    _describe_problems(app)
    if settings.dashboard_files:
        app.mount("/", pages(settings.dashboard_files), name="dashboard")

    app.add_middleware(SameOrigin, public_url=settings.public_url)
    app.add_middleware(BodyLimit, largest_bytes=settings.largest_body_bytes)
    app.add_middleware(Observer, metrics=metrics)
    return app


def _describe_problems(app: FastAPI) -> None:
    """Put the schema of problems into the OpenAPI document, in the place of FastAPI's own."""
    generate = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            document = generate()
            schemas = document["components"]["schemas"]
            problem = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= problem.pop("$defs", {})
            schemas["ProblemBody"] = problem
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            document["servers"] = [{"url": "/"}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
