"""Why a call has ended: what the service says, and whether calling again can help."""

from __future__ import annotations

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
"""What gRPC and proxies say of a connection that broke; the service itself gives reasons."""

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


class CallInterrupted(Exception):
    """A call ended before its stream, and another one may go on; `error` is what to tell if not."""

    def __init__(self, error: ClientError, *, retry_seconds: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_seconds = retry_seconds


def classify_call_error(
    failure: grpc.aio.AioRpcError, target: str
) -> CallInterrupted | ClientError:
    """What to raise for the end of a call: CallBroken where calling again can help."""
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
    """The service's own error: its reason is the code, and RetryInfo comes where it may go away."""
    detail = failure.details() or info.reason
    problem = ProblemDetails(
        code=info.reason.lower(),
        title=info.metadata.get("title", detail),
        status=HTTP_STATUS.get(failure.code(), 500),
        detail=detail,
        retryable=retry_seconds is not None,
        trace_id=info.metadata.get("trace_id"),
        retry_seconds=retry_seconds,
        document=dict(info.metadata),
    )
    return RequestRefused(problem) if problem.status < 500 else ServiceFailed(problem)


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
            status=HTTP_STATUS.get(failure.code(), 500),
            detail=details,
            retryable=False,
        )
    )


def _parse_details(failure: grpc.aio.AioRpcError) -> tuple[ErrorInfo | None, RetryInfo | None]:
    """What google.rpc says of the failure; nothing where a proxy or gRPC itself speaks."""
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
