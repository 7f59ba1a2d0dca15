"""ASGI middleware around every HTTP request, outermost first.

SecurityHeadersMiddleware  headers for browsers (security_headers)
LingeringCloseMiddleware   delivers a response that is sent before the body has been read
UploadRateMiddleware       idle time-out and minimum rate of request bodies
RequestMiddleware          trace id, metrics, access log, HEAD, unexpected errors
BrowserPolicyMiddleware    hosts and origins (browser_policy)
CORSMiddleware             Starlette's, for allowed origins if there are any
AuditMiddleware            audit entries
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth.audit_log import INTERRUPTED, OK, REFUSAL_STATUSES, AuditEntry, AuditLog
from service.domain.caller import Caller
from service.errors import CircumplexError, InternalError
from service.gateway.lifecycle import ShutdownState
from service.gateway.rest.problems import problem_response
from service.gateway.use_cases.uploads import UploadRateGuard
from service.jobs.record import is_job_id
from service.settings import Settings
from service.telemetry.logs import TRACE_ID, trace_id_of
from service.telemetry.metrics import Metrics

TRACE_HEADER: Final = "X-Trace-Id"
LINGER_SECONDS: Final = 5.0
LINGER_BYTES: Final = 2**26
"""Limits of the time and bytes for which the rest of a body is discarded."""
CLIENT_CLOSED_STATUS: Final = 499
"""Status in metrics and logs of a request whose client disconnected before the response."""
KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBE_ROUTES: Final = ("/health/live", "/health/ready", "/metrics")
AUDITED_READS: Final = frozenset({"get_result"})
"""Routes that only read and are audited all the same."""

log = logging.getLogger(__name__)


class LingeringCloseMiddleware:
    """Lingering close (RFC 9112, 9.6) for requests with a body.

    A server that closes a connection with unread bytes resets it, and the client may lose the
    response. An early response is therefore sent at once, then the rest of the body is read and
    discarded for a bounded time, and only then the connection is closed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and _has_body(scope):
            exchange = _LingeringExchange(scope, receive, send)
            await self._app(scope, exchange.receive, exchange.send)
        else:
            await self._app(scope, receive, send)


class _LingeringExchange:
    """Request and response of one lingering close."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_body_expected = Headers(scope=scope).get("expect", "").lower() != "100-continue"
        self._is_body_complete = False
        self._is_response_early = False

    async def receive(self) -> Message:
        self._is_body_expected = True
        message = await self._receive()
        self._is_body_complete = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._is_body_complete:
            self._is_response_early = True
            MutableHeaders(scope=message)["Connection"] = "close"
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if self._is_response_early and is_last and self._is_body_expected:
            await self._send({**message, "more_body": True})
            await self._discard_body()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _discard_body(self) -> None:
        discarded = 0
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while not self._is_body_complete and discarded < LINGER_BYTES:
                    discarded += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return


class UploadRateMiddleware:
    """Ends a request whose body is idle, too slow, or unfinished when the gateway has drained."""

    def __init__(self, app: ASGIApp, settings: Settings, shutdown: ShutdownState) -> None:
        self._app = app
        self._settings = settings
        self._shutdown = shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and _has_body(scope):
            receive = _GuardedBody(receive, UploadRateGuard(self._settings, self._shutdown)).receive
        await self._app(scope, receive, send)


class _GuardedBody:
    """Body of one request, checked by an UploadRateGuard."""

    def __init__(self, receive: Receive, rate_guard: UploadRateGuard) -> None:
        self._receive = receive
        self._rate_guard = rate_guard
        self._has_ended = False

    async def receive(self) -> Message:
        """Return the next part; raises UploadInterrupted or GatewayDraining."""
        if self._has_ended:
            return await self._receive()
        message = await self._rate_guard.wait_for(self._receive, _body_size)
        self._has_ended = _body_size(message) is None
        return message


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _body_size(message: Message) -> int | None:
    """Bytes of one part of a body; None for the last part."""
    return len(message.get("body", b"")) if message.get("more_body", False) else None


class _HeadComplete(Exception):
    """Stops a route that goes on producing a body for a HEAD request."""


class RequestMiddleware:
    """Trace id, duration metric, access log, and the response to unexpected errors.

    HEAD is served as GET without its body, so that no route needs to handle it. Nothing is
    buffered.
    """

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
        response = _TracedResponse(send, is_head=is_head)
        try:
            await self._app(inner, receive, response.send)
        except _HeadComplete:
            log.debug("%s: response to HEAD complete, body not produced", scope["path"])
        except Exception:
            log.exception("%s %s: response incomplete", scope["method"], scope["path"])
            if response.status:
                raise  # the response has begun: the connection can only be broken
            await problem_response(Request(scope), InternalError())(scope, receive, response.send)
        finally:
            route = getattr(inner.get("route"), "path", "unmatched")
            seconds = time.perf_counter() - started
            self._observe(scope, route, response.status or CLIENT_CLOSED_STATUS, seconds)

    def _observe(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in KNOWN_METHODS else "other"
        self._metrics.http_request_duration_seconds.labels(method, route, str(status)).observe(
            seconds
        )
        level = logging.DEBUG if route in PROBE_ROUTES else logging.INFO
        log.log(level, "%s %s %d %.1f ms", method, scope["path"], status, 1000 * seconds)


class _TracedResponse:
    """Adds the trace id to a response, and omits the body of a response to HEAD."""

    def __init__(self, send: Send, *, is_head: bool) -> None:
        self.status = 0
        self._send = send
        self._is_head = is_head

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[TRACE_HEADER] = TRACE_ID.get()
        elif self._is_head and message.get("more_body", False):
            await self._send({"type": "http.response.body"})
            raise _HeadComplete
        elif self._is_head:
            message = {**message, "body": b""}
        await self._send(message)


class AuditMiddleware:
    """Audit entries of every change, of AUDITED_READS, and of every refusal.

    The action of an entry is the name of the route's function. The middleware lies inside
    RequestMiddleware, where the trace id is set and HEAD is GET.
    """

    def __init__(self, app: ASGIApp, audit: AuditLog) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        observer = _ResponseObserver()

        async def send_and_observe(message: Message) -> None:
            await send(message)
            observer.observe(message)

        try:
            await self._app(scope, receive, send_and_observe)
        finally:
            state: dict[str, Any] = scope.get("state", {})
            if "caller" in state and _should_audit(scope, observer.status):
                self._audit.write(_audit_entry(scope, observer))


class _ResponseObserver:
    """Status, Location and completeness of a response."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.location = ""
        self.is_complete = False

    def observe(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.location = Headers(raw=message["headers"]).get("location", "")
        elif message["type"] == "http.response.body":
            self.is_complete = not message.get("more_body", False)


def _should_audit(scope: Scope, status: int | None) -> bool:
    return (
        scope["method"] != "GET"
        or scope["route"].name in AUDITED_READS
        or status in REFUSAL_STATUSES
    )


def _audit_entry(scope: Scope, observed: _ResponseObserver) -> AuditEntry:
    state: dict[str, Any] = scope["state"]
    caller: Caller | None = state.get("caller")
    job_id = scope["path_params"].get("job_id") or observed.location.rpartition("/")[2]
    problem: CircumplexError | None = state.get("problem")
    return AuditEntry(
        action=scope["route"].name,
        outcome=_outcome(observed, problem),
        status=observed.status,
        key_id=caller.owner if caller else None,
        key_name=caller.name if caller else None,
        job_id=job_id if is_job_id(job_id) else None,
        client=scope["client"][0] if scope["client"] else None,
        detail=problem.detail if problem and observed.status in REFUSAL_STATUSES else None,
    )


def _outcome(observed: _ResponseObserver, problem: CircumplexError | None) -> str:
    if observed.status is None:
        return InternalError.code
    if not observed.is_complete:
        return INTERRUPTED
    return OK if problem is None else problem.code
