"""How reads are answered: with an ETag over what they say, and the age of it beside."""

from __future__ import annotations

import hashlib
from datetime import datetime

from fastapi import Request, Response
from pydantic import BaseModel


def tagged(request: Request, body: BaseModel) -> Response:
    """Answer a model, or 304 when the client has just that.

    The tag leaves ``as_of`` out, which moves on though nothing changed; it is in the header
    ``Data-As-Of`` of both answers, so that a client that keeps its copy knows how old it is.
    """
    content = body.model_dump_json().encode()
    as_of: datetime | None = getattr(body, "as_of", None)
    same = content if as_of is None else body.model_dump_json(exclude={"as_of"}).encode()
    tag = f'W/"{hashlib.sha256(same).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
    if as_of is not None:
        headers["Data-As-Of"] = as_of.isoformat().replace("+00:00", "Z")
    wanted = request.headers.get("if-none-match", "")
    known = {part.strip().removeprefix("W/") for part in wanted.split(",")}
    if tag.removeprefix("W/") in known or wanted.strip() == "*":
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="application/json", headers=headers)
