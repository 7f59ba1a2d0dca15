"""Sees to it that what is done through the gate is written down, whichever route does it."""

from __future__ import annotations

from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.audit import INTERRUPTED, OK, REFUSED, Audit, Deed
from service.domain.caller import Caller
from service.errors import CircumplexError, InternalError
from service.jobs.record import is_job_id

FETCHES: Final = frozenset({"get_result"})
"""Routes that only read, and are written down all the same."""


class Audited:
    """ASGI middleware inside the envelope: by then the trace is known and HEAD is GET.

    A route is named by its function. Written down are all that change something, FETCHES, and
    whatever is refused by the gate.
    """

    def __init__(self, app: ASGIApp, audit: Audit) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        answered = _Answered()

        async def note(message: Message) -> None:
            await send(message)
            answered.hear(message)

        try:
            await self._app(scope, receive, note)
        finally:
            state: dict[str, Any] = scope.get("state", {})
            if "caller" in state and _is_of_interest(scope, answered.status):
                self._audit.write(_deed(scope, answered))


class _Answered:
    """How a request was answered."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.location = ""
        self.is_whole = False

    def hear(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.location = Headers(raw=message["headers"]).get("location", "")
        elif message["type"] == "http.response.body":
            self.is_whole = not message.get("more_body", False)


def _is_of_interest(scope: Scope, status: int | None) -> bool:
    return scope["method"] != "GET" or scope["route"].name in FETCHES or status in REFUSED


def _deed(scope: Scope, answered: _Answered) -> Deed:
    state: dict[str, Any] = scope["state"]
    caller: Caller | None = state.get("caller")
    job_id = scope["path_params"].get("job_id") or answered.location.rpartition("/")[2]
    problem: CircumplexError | None = state.get("problem")
    return Deed(
        action=scope["route"].name,
        outcome=_outcome(answered, problem),
        status=answered.status,
        key_id=caller.owner if caller else None,
        key_name=caller.name if caller else None,
        job_id=job_id if is_job_id(job_id) else None,
        client=scope["client"][0] if scope["client"] else None,
        detail=problem.detail if problem and answered.status in REFUSED else None,
    )


def _outcome(answered: _Answered, problem: CircumplexError | None) -> str:
    if answered.status is None:
        return InternalError.code
    if not answered.is_whole:
        return INTERRUPTED
    return OK if problem is None else problem.code
