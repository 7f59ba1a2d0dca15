"""Sees to it that what is done through the gate is written down, whichever route does it."""

from __future__ import annotations

from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth.audit_log import INTERRUPTED, OK, REFUSAL_STATUSES, AuditEntry, AuditLog
from service.domain.caller import Caller
from service.errors import CircumplexError, InternalError
from service.jobs.record import is_job_id

AUDITED_READS: Final = frozenset({"get_result"})
"""Routes that only read, and are written down all the same."""


class AuditMiddleware:
    """ASGI middleware inside the envelope: by then the trace is known and HEAD is GET.

    A route is named by its function. Written down are all that change something, FETCHES, and
    whatever is refused by the gate.
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
    """How a request was answered."""

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
