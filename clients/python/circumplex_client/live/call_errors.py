"""Classification of failed calls, and the pauses before the next call.

AioRpcError ──classify_call_error──▶ ClientError: raised to the caller
                                   └▶ CallInterrupted ──RetryPolicy──▶ pause, then another call
"""

from __future__ import annotations

import random
import time
from typing import Final

import grpc
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from circumplex_client.errors import (
    ClientError,
    ProblemDetails,
    RequestRefused,
    ServiceFailed,
    ServiceUnreachable,
)

DETAILS_KEY: Final = "grpc-status-details-bin"
TRANSPORT_CODES: Final = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
}
"""Statuses that gRPC and proxies set after a broken connection, without error details."""

HTTP_STATUS: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 422,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 422,
    grpc.StatusCode.OUT_OF_RANGE: 422,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.DEADLINE_EXCEEDED: 408,
    grpc.StatusCode.UNIMPLEMENTED: 404,
    grpc.StatusCode.UNAVAILABLE: 503,
}
HTTP_SERVER_ERROR: Final = 500

FIRST_PAUSE_SECONDS: Final = 0.1
MAX_PAUSE_SECONDS: Final = 5.0
STABLE_CALL_SECONDS: Final = 10.0
"""An accepted call that lasted this long resets the timeout, even without results."""


class CallInterrupted(Exception):
    """A call ended before its stream and may be resumed; `error` is raised if it cannot."""

    def __init__(self, error: ClientError, *, retry_seconds: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_seconds = retry_seconds


def classify_call_error(
    failure: grpc.aio.AioRpcError, target: str
) -> CallInterrupted | ClientError:
    """Convert a gRPC error: CallInterrupted where another call can resume the stream."""
    info, retry = _parse_details(failure)
    if info is None:
        return _classify_without_details(failure, target)
    seconds = None if retry is None else retry.retry_delay.ToTimedelta().total_seconds()
    error = _build_problem_error(failure, info, seconds)
    if error.problem.retryable and error.problem.code != "stream_overrun":
        return CallInterrupted(error, retry_seconds=seconds)
    return error


def _build_problem_error(
    failure: grpc.aio.AioRpcError, info: ErrorInfo, retry_seconds: float | None
) -> RequestRefused | ServiceFailed:
    """Build the service's error: ErrorInfo.reason is the code, RetryInfo means retryable."""
    detail = failure.details() or info.reason
    problem = ProblemDetails(
        code=info.reason.lower(),
        title=info.metadata.get("title", detail),
        status=_find_http_status(failure, info),
        detail=detail,
        retryable=retry_seconds is not None,
        trace_id=info.metadata.get("trace_id"),
        retry_seconds=retry_seconds,
        document=dict(info.metadata),
    )
    return RequestRefused(problem) if problem.status < HTTP_SERVER_ERROR else ServiceFailed(problem)


def _find_http_status(failure: grpc.aio.AioRpcError, info: ErrorInfo) -> int:
    """Return what REST answers: as the service says, or by the status of the call."""
    named = info.metadata.get("http_status", "")
    if named.isdecimal():
        return int(named)
    return HTTP_STATUS.get(failure.code(), HTTP_SERVER_ERROR)


def _classify_without_details(
    failure: grpc.aio.AioRpcError, target: str
) -> CallInterrupted | ClientError:
    name, details = failure.code().name.lower(), failure.details() or "no reason given"
    if failure.code() in TRANSPORT_CODES:
        return CallInterrupted(
            ServiceUnreachable(f"{target} cannot be reached: {details} [{name}]")
        )
    return RequestRefused(
        ProblemDetails(
            code=name,
            title=details,
            status=HTTP_STATUS.get(failure.code(), HTTP_SERVER_ERROR),
            detail=details,
            retryable=False,
        )
    )


def _parse_details(failure: grpc.aio.AioRpcError) -> tuple[ErrorInfo | None, RetryInfo | None]:
    """Read google.rpc error details; None where the error comes from a proxy or gRPC itself."""
    info, retry = None, None
    for key, value in failure.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            for packed in Status.FromString(value).details:
                match packed.TypeName():
                    case "google.rpc.ErrorInfo":
                        info = ErrorInfo.FromString(packed.value)
                    case "google.rpc.RetryInfo":
                        retry = RetryInfo.FromString(packed.value)
                    case _:
                        pass
    return info, retry


class RetryPolicy:
    """Pauses between calls: they double with jitter until a result arrives."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._accepted_at: float | None = None
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._failing_since: float | None = None

    def record_accepted(self) -> None:
        """Record that the service has accepted the call."""
        self._accepted_at = time.monotonic()

    def reset(self) -> None:
        """Restart the pauses and the timeout: a new result has arrived."""
        self._pause_seconds, self._failing_since = FIRST_PAUSE_SECONDS, None

    def next_pause_seconds(self, interrupted: CallInterrupted) -> float:
        """Return the seconds to wait; raises `interrupted.error` after the timeout."""
        now = time.monotonic()
        if self._accepted_at is not None and now - self._accepted_at > STABLE_CALL_SECONDS:
            self.reset()
        self._accepted_at = None
        self._failing_since = now if self._failing_since is None else self._failing_since
        pause = self._pause_seconds * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        if interrupted.retry_seconds is not None:
            pause += interrupted.retry_seconds
        if now + pause - self._failing_since > self._timeout_seconds:
            raise interrupted.error from interrupted
        self._pause_seconds = min(2 * self._pause_seconds, MAX_PAUSE_SECONDS)
        return pause
