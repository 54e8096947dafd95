"""What routes take, and where they get what they work with."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator, AwareDatetime

from inventory_api.db import Connection, Database, row
from inventory_api.models import LARGEST_ID, sound

Text = Annotated[
    str | None, Query(max_length=200), AfterValidator(lambda text: text and sound(text))
]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
After = Annotated[str | None, Query(max_length=2000, description="`next` of the page before.")]
OptionalId = Annotated[int | None, Query(ge=1, le=LARGEST_ID)]
Id = Annotated[int, Path(ge=1, le=LARGEST_ID)]
Moment = Annotated[AwareDatetime | None, Query(examples=["2026-11-01T00:00:00Z"])]


def database(request: Request) -> Database:
    """The app's database."""
    found: Database = request.app.state.database
    return found


Db = Annotated[Database, Depends(database)]


async def as_of(connection: Connection) -> datetime | None:
    """When the mirror last confirmed that it had everything."""
    found = await row(connection, "api_as_of")
    return found["as_of"] if found else None


def like(q: str | None) -> str | None:
    """Return a pattern that finds the words of ``q`` in their order, as parts of words."""
    words = (q or "").split()
    escaped = [re.sub(r"([\\%_])", r"\\\1", word) for word in words]
    return f"%{'%'.join(escaped)}%" if words else None
