"""The layers around the routes: request ids, logs, metrics, and what no route gets to see."""

from __future__ import annotations

import logging
import re
import time
import uuid
from urllib.parse import urlsplit

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inventory_api.problems import Problem

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def configure_logging() -> None:
    """One JSON object a line on standard output."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


class Metrics:
    """What Prometheus reads, in a registry of the app's own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "inventory_api_requests",
            "Requests",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "inventory_api_request_seconds",
            "Until the answer's head",
            ["route"],
            registry=self.registry,
        )
        self.listeners = Gauge(
            "inventory_api_listeners", "Open event streams", registry=self.registry
        )
        self.dropped = Counter(
            "inventory_api_listeners_dropped", "Too slow and cut off", registry=self.registry
        )
        self.events = Counter("inventory_api_events", "Events read", registry=self.registry)


class Observer:
    """The outermost layer: every request has an id, a line in the log and a count."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started, status, head_s = time.perf_counter(), 500, 0.0

        async def answer(message: Message) -> None:
            nonlocal status, head_s
            if message["type"] == "http.response.start":
                status, head_s = message["status"], time.perf_counter() - started
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception:
            log.exception("unexpected")
            if head_s:  # the answer has begun: all that is left is to break it off
                raise
            detail = f"Something is wrong in the API itself. Its log says more under {request_id}."
            await Problem(500, detail).response()(scope, receive, answer)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "none")  # the pattern: few values, and no ids of people
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self.metrics.requests.labels(method, path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(head_s)
            if path != "/api/health":
                log.info(
                    "request", method=method, route=path, status=status, ms=round(head_s * 1000, 1)
                )


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class BodyLimit:
    """Refuses bodies that are too large, whether they say so or not."""

    def __init__(self, app: ASGIApp, largest_bytes: int) -> None:
        self.app = app
        self.largest_bytes = largest_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        size = int(declared) if declared.isdigit() else 0
        refusal = Problem(413, f"The body is larger than {self.largest_bytes} bytes.")
        if size > self.largest_bytes:
            await refusal.response()(scope, receive, send)
            return
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.largest_bytes:
                raise HTTPException(413, refusal.detail)  # what FastAPI lets through as it is
            return message

        await self.app(scope, limited, send)


class SameOrigin:
    """Refuses what another site's page lets a browser write: it would come with our session."""

    def __init__(self, app: ASGIApp, public_url: str) -> None:
        self.app = app
        parts = urlsplit(public_url)
        # Browsers leave a scheme's own port out of what they send.
        usual = {"https": ":443", "http": ":80"}.get(parts.scheme, "")
        self.origin = f"{parts.scheme}://{parts.netloc.removesuffix(usual)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "http" and scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
            origin = dict(scope["headers"]).get(b"origin")
            if origin is not None and origin.decode("latin-1") != self.origin:
                refusal = Problem(403, "Another site's page may not write here.")
                await refusal.response()(scope, receive, send)
                return
        await self.app(scope, receive, send)
