"""Around every request: its trace id, its duration, its line in the log, and the last resort.

HEAD is served here too, as GET without its body, so that no route has to know of it.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import InternalError
from service.gateway.rest.problems import problem_response
from service.telemetry.logs import TRACE_ID, trace_id_of
from service.telemetry.metrics import Metrics

TRACE_HEADER: Final = "X-Trace-Id"
KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBE_ROUTES: Final = ("/health/live", "/health/ready", "/metrics")

log = logging.getLogger(__name__)


class _HeadComplete(Exception):
    """Ends a route that would go on to make a body, a long result or a stream without end."""


class RequestMiddleware:
    """ASGI middleware; buffers nothing."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        inner: Scope = {**scope, "method": "GET"} if is_head else scope
        TRACE_ID.set(trace_id_of(Headers(scope=scope).get("traceparent", "")))
        started = time.perf_counter()
        status = 0

        async def send_traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[TRACE_HEADER] = TRACE_ID.get()
            elif is_head and message.get("more_body", False):
                await send({"type": "http.response.body"})
                raise _HeadComplete
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(inner, receive, send_traced)
        except _HeadComplete:
            log.debug("the body of %s is not made: HEAD has its answer", scope["path"])
        except Exception:
            log.exception("%s %s: no whole answer", scope["method"], scope["path"])
            if status:
                raise  # the answer has begun: all that is left is to break the connection
            await problem_response(Request(scope), InternalError())(scope, receive, send_traced)
        finally:
            route = getattr(inner.get("route"), "path", "unmatched")
            self._observe(scope, route, status or 499, time.perf_counter() - started)

    def _observe(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in KNOWN_METHODS else "other"
        self._metrics.http_request_duration_seconds.labels(method, route, str(status)).observe(
            seconds
        )
        level = logging.DEBUG if route in PROBE_ROUTES else logging.INFO
        log.log(level, "%s %s %d %.1f ms", method, scope["path"], status, 1000 * seconds)
