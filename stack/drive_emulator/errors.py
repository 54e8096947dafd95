"""Errors as Google's APIs answer them.

Source: https://developers.google.com/workspace/drive/api/guides/handle-errors
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse

USAGE_LIMITS = frozenset(
    {"rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded", "storageQuotaExceeded"}
)


class DriveError(Exception):
    """An answer other than success."""

    def __init__(
        self, status: int, reason: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """Return it in Google's format."""
        domain = "usageLimits" if self.reason in USAGE_LIMITS else "global"
        detail = {"message": self.message, "domain": domain, "reason": self.reason}
        body = {"error": {"code": self.status, "message": self.message, "errors": [detail]}}
        return JSONResponse(body, self.status, headers=self.headers)


class AbortedError(Exception):
    """The connection was reset on purpose; nothing more can be answered."""


def invalid(message: str) -> DriveError:
    """Return a 400: the request is not understood."""
    return DriveError(400, "invalid", message)


def not_found(file_id: str) -> DriveError:
    """Return the 404 of a file that is not there, or that the caller may not see."""
    return DriveError(404, "notFound", f"File not found: {file_id}.")


def unauthorized() -> DriveError:
    """Return the 401 of a missing, unknown or expired token."""
    header = 'Bearer realm="https://accounts.google.com/", error="invalid_token"'
    return DriveError(401, "authError", "Invalid Credentials", {"WWW-Authenticate": header})


def over_quota(is_service_account: bool) -> DriveError:
    """Return the 403 of an account without space."""
    if is_service_account:
        message = (
            "Service Accounts do not have storage quota. Leverage shared drives, or use OAuth "
            "delegation instead."
        )
    else:
        message = "The user's Drive storage quota has been exceeded."
    return DriveError(403, "storageQuotaExceeded", message)


async def answer(_request: Request, error: Exception) -> JSONResponse:
    """Handle a DriveError for Starlette."""
    assert isinstance(error, DriveError)
    return error.response()
