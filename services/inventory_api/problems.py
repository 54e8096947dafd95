"""Errors as ``application/problem+json``. https://www.rfc-editor.org/rfc/rfc9457"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import psycopg
import psycopg_pool
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """What is wrong with one value of a request."""

    where: str = Field(examples=["query.limit"])
    message: str


class ProblemBody(BaseModel):
    """What every error answers."""

    type: str = Field("about:blank", examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no medication 4711."])
    errors: list[FieldError] | None = None


class Problem(Exception):
    """An answer other than success.

    Args:
        status: The HTTP status.
        detail: What was asked, what came of it, what to do.
        headers: Further headers of the answer.
        errors: What is wrong with which value.
        retry_after_s: When trying again may help.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldError] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = list(errors)
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)

    def response(self) -> JSONResponse:
        """The answer itself."""
        body = ProblemBody(
            type="about:blank",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            errors=self.errors or None,
        )
        return JSONResponse(
            body.model_dump(exclude_none=True),
            self.status,
            headers={"Cache-Control": "no-store", **self.headers},
            media_type=MEDIA_TYPE,
        )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these errors."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
        }
        for status in statuses
    }


def from_database(error: Exception) -> Problem:
    """What a failure of the database means for whoever asked."""
    if isinstance(error, psycopg.DataError):
        return Problem(422, "A value of the request does not fit into the database.")
    if isinstance(error, psycopg.errors.QueryCanceled):
        return Problem(
            503, "The database took too long for this question. Ask for less.", retry_after_s=5
        )
    return Problem(
        503, "The database does not answer right now. Try again in a moment.", retry_after_s=5
    )


def install(app: FastAPI) -> None:
    """Turn every error of the app into a problem."""

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        return error.response()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        detail = {
            404: f"There is nothing at {request.url.path}.",
            405: f"{request.url.path} does not take {request.method}.",
        }.get(error.status_code, str(error.detail))
        return Problem(error.status_code, detail, headers=error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            FieldError(where=".".join(map(str, each["loc"])), message=each["msg"])
            for each in error.errors()
        ]
        is_broken = any(each["type"] == "json_invalid" for each in error.errors())
        return Problem(
            400 if is_broken else 422,
            "The request cannot be understood: "
            + "; ".join(f"{e.where}: {e.message}" for e in errors),
            errors=errors,
        ).response()

    @app.exception_handler(psycopg.Error)
    @app.exception_handler(psycopg_pool.PoolTimeout)
    async def database(request: Request, error: Exception) -> JSONResponse:
        log.error(
            "database", path=request.url.path, error=type(error).__name__, said=str(error)[:300]
        )
        return from_database(error).response()
