"""Telemetry of one WebSocket: trace id, log line, audit entry, metric and close code."""

from __future__ import annotations

import asyncio
import logging
import time
from types import TracebackType
from typing import Final, Self

from fastapi import WebSocket

from service.auth.audit_log import INTERRUPTED, OK, AuditEntry
from service.domain.caller import Caller
from service.errors import CircumplexError, GatewayDraining, InternalError, ServiceError
from service.gateway.context import GatewayContext
from service.gateway.rest.schemas import WEBSOCKET_PATH
from service.telemetry.logs import TRACE_ID, trace_id_of

DISCONNECTED_KEY: Final = "disconnected"
"""Key in the scope's state: an event that is set when the client has disconnected."""
NORMAL_CLOSURE: Final = 1000
ABNORMAL_CLOSURE: Final = 1006
SERVICE_RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013
"""Close codes of RFC 6455 and the IANA registry."""
PRIVATE_CODE_BASE: Final = 4000
"""Close codes from here on are for private use; the HTTP status is added."""

log = logging.getLogger(__name__)


def close_code_of(error: CircumplexError) -> int:
    """Return 1012 or 1013 where the client should reconnect; else 4000 + the HTTP status."""
    if isinstance(error, GatewayDraining):
        return SERVICE_RESTART
    if isinstance(error, ServiceError) and error.retryable:
        return TRY_AGAIN_LATER
    return PRIVATE_CODE_BASE + error.http_status


class WebSocketExchange:
    """Context of one WebSocket; writes its log line, audit entry and metric at its end."""

    def __init__(self, websocket: WebSocket) -> None:
        self.disconnected: asyncio.Event = getattr(websocket.state, DISCONNECTED_KEY)
        self.caller: Caller | None = None
        self.gateway: GatewayContext = websocket.app.state.gateway
        self._path = websocket.url.path
        self._client = websocket.client.host if websocket.client else None
        self._started = time.perf_counter()
        self._close_code = ABNORMAL_CLOSURE
        self._error: CircumplexError | None = None
        TRACE_ID.set(trace_id_of(websocket.headers.get("traceparent", "")))

    def mark_refused(self, error: CircumplexError) -> None:
        """Record that the handshake was refused."""
        self._error, self._close_code = error, error.http_status

    def mark_failed(self, error: CircumplexError) -> int:
        """Record the error that ends the stream; returns the close code."""
        self._error, self._close_code = error, close_code_of(error)
        if isinstance(error, InternalError):
            log.error("%s: internal error", self._path, exc_info=error)
        elif isinstance(error, ServiceError):
            log.warning("%s: %s: %s", self._path, error.code, error.detail)
        return self._close_code

    def mark_succeeded(self) -> int:
        """Record the regular end of the stream; returns the close code."""
        self._close_code = NORMAL_CLOSURE
        return self._close_code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        seconds = time.perf_counter() - self._started
        log.info("WebSocket %s %d %.1f s", self._path, self._close_code, seconds)
        self.gateway.metrics.websockets_closed_total.labels(str(self._close_code)).inc()
        if self._path == WEBSOCKET_PATH:
            self.gateway.audit_log.write(self._audit_entry())

    def _audit_entry(self) -> AuditEntry:
        error = self._error
        return AuditEntry(
            action="streaming_annotate",
            outcome=OK
            if self._close_code == NORMAL_CLOSURE
            else error.code
            if error
            else INTERRUPTED,
            status=self._close_code,
            key_id=self.caller.owner if self.caller else None,
            key_name=self.caller.name if self.caller else None,
            client=self._client,
            detail=error.detail if error and self.caller is None else None,
        )
