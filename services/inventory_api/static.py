"""The dashboard's built pages, as one more thing that this process serves."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path, PurePosixPath
from typing import Final

from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

PRESS_STYLE: Final = """
@layer {
  [data-react-aria-pressable] {
    touch-action: pan-x pan-y pinch-zoom;
  }
}
    """
"""The one style that the component library adds by itself (react-aria, usePress)."""

POLICY: Final = (
    "default-src 'none'; script-src 'self'; img-src 'self'; connect-src 'self'; style-src 'self' "
    f"'sha256-{base64.b64encode(hashlib.sha256(PRESS_STYLE.strip().encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
}
NOT_PAGES: Final = ("api", "assets", "metrics")
FOREVER: Final = "public, max-age=31536000, immutable"


class _Pages(StaticFiles):
    """Files; an address that the page itself draws gets the page."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer one request."""
        first = path.split("/", 1)[0]
        try:
            response = await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code != 404 or first in NOT_PAGES or PurePosixPath(path).suffix:
                raise
            response = await super().get_response("index.html", scope)
        # A file's name under assets/ changes with what is in it.
        response.headers["Cache-Control"] = FOREVER if first == "assets" else "no-cache"
        response.headers.update(HEADERS)
        return response


def pages(folder: Path) -> ASGIApp:
    """Return what serves the pages in a folder, compressed."""
    return GZipMiddleware(_Pages(directory=folder, html=True), minimum_size=1_000)
