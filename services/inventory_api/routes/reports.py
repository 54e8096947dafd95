"""Reports, to look at and to take along."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from inventory_api import models, sheets
from inventory_api.answers import tagged
from inventory_api.auth import Scope, require
from inventory_api.db import rows
from inventory_api.problems import Problem, documented
from inventory_api.routes.parameters import Db, Moment, OptionalId, Text, as_of

router = APIRouter(prefix="/api/reports", tags=["reports"])

MOST_ROWS = 50_000
MOST_JSON_ROWS = 2_000
COLUMNS = tuple(models.ReportRow.model_fields)


@router.get(
    "/movements",
    response_model=models.Report,
    dependencies=[require(Scope.REPORTS_READ)],
    responses={
        200: {
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                sheets.XLSX_TYPE: {"schema": {"type": "string", "format": "binary"}},
            }
        },
        **documented(401, 403, 422, 503),
    },
)
async def movements_report(
    request: Request,
    db: Db,
    group_by: Annotated[
        Literal["medication", "lot", "location", "reason", "user", "source", "month"], Query()
    ] = "medication",
    format: Annotated[Literal["json", "csv", "xlsx"], Query()] = "json",
    medication_id: OptionalId = None,
    location_id: OptionalId = None,
    lot: Text = None,
    since: Moment = None,
    until: Moment = None,
) -> Response:
    """What came in, left and was corrected, by medication and one thing more.

    Without `since` the last 30 days. `source` tells counts from movements. A report of more rows
    than fit is refused rather than cut: ask for a shorter time.
    """
    until = until or datetime.now(UTC)
    since = since or until - timedelta(days=30)
    most = MOST_JSON_ROWS if format == "json" else MOST_ROWS
    async with db.snapshot() as connection:
        fresh = await as_of(connection)
        found = await rows(
            connection,
            "api_report",
            group_by=group_by,
            medication_id=medication_id,
            location_id=location_id,
            lot=lot,
            since=since,
            until=until,
            count=most + 1,
        )
    if len(found) > most:
        raise Problem(
            422,
            f"The report has more than {most} rows: ask for a shorter time, one medication, or "
            "another format (csv and xlsx hold more).",
        )
    if format == "json":
        items = [models.ReportRow.model_validate(each) for each in found]
        return tagged(request, models.Report(items=items, as_of=fresh))
    name = f"movimientos-{since:%Y%m%d}-{until:%Y%m%d}.{format}"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "private, no-store",
    }
    if fresh is not None:
        headers["Data-As-Of"] = fresh.isoformat().replace("+00:00", "Z")
    if format == "csv":
        return StreamingResponse(
            sheets.csv_lines(COLUMNS, found), media_type=sheets.CSV_TYPE, headers=headers
        )
    file = await asyncio.to_thread(sheets.xlsx_file, COLUMNS, found)
    return StreamingResponse(sheets.chunks(file), media_type=sheets.XLSX_TYPE, headers=headers)
