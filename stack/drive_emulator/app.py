"""The emulator as an ASGI application."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from drive_emulator.browse import Browse
from drive_emulator.config import Config
from drive_emulator.errors import AbortedError, DriveError, answer, unauthorized
from drive_emulator.faults import Faults
from drive_emulator.files import Files, json_body
from drive_emulator.storage import Storage
from drive_emulator.tokens import Caller, Tokens
from drive_emulator.uploads import Uploads

Call = Callable[[Request, Caller], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Emulator:
    """Everything behind one address.

    Args:
        config: Who may log in, how much fits.
        data: Where files and metadata are kept.
        browse: Whether a person may look without a login.
    """

    def __init__(self, config: Config, data: Path, *, browse: bool = False) -> None:
        self._config = config
        self._tokens = Tokens(config)
        self._faults = Faults()
        self._storage = Storage(config, data)
        files = Files(self._storage, config.shared_drives)
        uploads = Uploads(self._storage, self._tokens, config.url, config.session_ttl_s)
        api, upload = "/drive/v3", "/upload/drive/v3/files"
        routes = [
            Route("/healthz", self._health),
            Route("/auth", self._tokens.consent, methods=["GET"]),
            Route("/token", self._guarded(self._tokens.endpoint), methods=["POST"]),
            Route(f"{api}/about", self._call(files.about), methods=["GET"]),
            Route(f"{api}/drives", self._call(files.drives), methods=["GET"]),
            Route(f"{api}/drives/{{drive_id}}", self._call(files.drive), methods=["GET"]),
            Route(f"{api}/files", self._call(files.list), methods=["GET"]),
            Route(f"{api}/files", self._call(files.create), methods=["POST"]),
            Route(f"{api}/files/generateIds", self._call(files.generate_ids), methods=["GET"]),
            Route(f"{api}/files/{{file_id}}", self._call(files.get), methods=["GET"]),
            Route(f"{api}/files/{{file_id}}", self._call(files.update), methods=["PATCH"]),
            Route(f"{api}/files/{{file_id}}", self._call(files.delete), methods=["DELETE"]),
            Route(upload, self._call(uploads.create), methods=["POST"]),
            Route(upload, self._guarded(uploads.chunk), methods=["PUT"]),
            Route("/_emulator/faults", self._plan, methods=["POST", "DELETE"]),
            Route("/_emulator/log", self._log, methods=["GET", "DELETE"]),
        ]
        if browse:
            pages = Browse(self._storage, files)
            routes += [Route("/", pages.index), Route("/file/d/{file_id}/view", pages.view)]
        self._app = Starlette(
            routes=routes, exception_handlers={DriveError: answer}, lifespan=self._lifespan
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve; a request that was reset on purpose has no answer."""
        if scope["type"] == "http":
            # uvicorn hands its cycle's bound method: the only way to the connection.
            cycle: Any = getattr(receive, "__self__", None)
            scope.setdefault("state", {})["abort"] = lambda: cycle and cycle.transport.abort()
        try:
            await self._app(scope, receive, send)
        except (AbortedError, ClientDisconnect):
            return

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> Any:
        yield
        self._storage.close()

    # Faults around a call

    def _call(self, call: Call) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            return await call(request, self._tokens.caller(request))

        return self._guarded(endpoint)

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            path = request.url.path
            query = f"?{request.url.query}" if request.url.query else ""
            fault = request.state.fault = self._faults.take(request.method, path + query)
            entry: dict[str, Any] = {
                "method": request.method,
                "path": path,
                "query": {
                    name: "***" if name == "upload_id" else value
                    for name, value in request.query_params.items()
                },
                "content_range": request.headers.get("content-range"),
                "range": request.headers.get("range"),
                "fault": fault.kind if fault else None,
                "status": None,
            }
            self._faults.log.append(entry)
            try:
                if fault and fault.delay_s:
                    await asyncio.sleep(fault.delay_s)
                if fault and fault.kind == "expire_tokens":
                    self._tokens.revoke_all()
                if fault and fault.kind == "status":
                    raise fault.error()
                response = await endpoint(request)
            except DriveError as error:
                entry["status"] = error.status
                # Read what is still coming: a client sees the answer only after its whole body.
                with suppress(RuntimeError):  # it was read already
                    async for _ in request.stream():
                        pass
                raise
            if fault and fault.kind == "lost_reply":
                request.state.abort()
                raise AbortedError
            entry["status"] = response.status_code
            return response

        return guarded

    # Control

    def _check_admin(self, request: Request) -> None:
        wanted = f"Bearer {self._config.admin_token}"
        if not hmac.compare_digest(request.headers.get("authorization", ""), wanted):
            raise unauthorized()

    async def _plan(self, request: Request) -> Response:
        self._check_admin(request)
        if request.method == "DELETE":
            self._faults.clear()
        else:
            self._faults.add(await json_body(request))
        return Response(status_code=204)

    async def _log(self, request: Request) -> Response:
        self._check_admin(request)
        if request.method == "DELETE":
            self._faults.log.clear()
            return Response(status_code=204)
        return JSONResponse(list(self._faults.log))

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})
