"""Translation of errors to google.rpc.Status, for every method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import error_details_pb2 as details
from google.rpc import status_pb2

from service.errors import DEFAULT_RETRY_SECONDS, CircumplexError, RequestInvalid
from service.telemetry.logs import TRACE_ID

ERROR_DOMAIN: Final = "circumplex"
MAX_DETAIL_BYTES: Final = 1000
"""Bytes of the text, sent three times, once percent-encoded; clients accept 8 KiB in all."""
DETAILS_KEY: Final = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStatus:
    """Status of a failed call. metadata: trailing metadata that goes with it."""

    code: grpc.StatusCode
    message: str
    metadata: tuple[tuple[str, bytes], ...]


def status_of(error: CircumplexError) -> CallStatus:
    """Translate an error to the status that the client receives."""
    code = grpc.StatusCode[error.grpc_status]
    text = _truncate(error.detail)
    status = status_pb2.Status(
        code=code.value[0], message=text, details=[*map(_pack, _error_details(error))]
    )
    return CallStatus(
        code=code, message=text, metadata=((DETAILS_KEY, status.SerializeToString()),)
    )


def _error_details(error: CircumplexError) -> list[message.Message]:
    messages: list[message.Message] = [
        details.ErrorInfo(
            reason=error.code.upper(),
            domain=ERROR_DOMAIN,
            metadata={
                "title": error.title(),
                "trace_id": TRACE_ID.get(),
                "http_status": str(error.http_status),
            },
        )
    ]
    if error.retryable:
        milliseconds = round(1000 * (error.retry_seconds or DEFAULT_RETRY_SECONDS))
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(milliseconds)
        messages.append(details.RetryInfo(retry_delay=delay))
    if isinstance(error, RequestInvalid) and error.field is not None:
        violation = details.BadRequest.FieldViolation(
            field=error.field, description=_truncate(error.detail)
        )
        messages.append(details.BadRequest(field_violations=[violation]))
    return messages


def _truncate(text: str) -> str:
    return text.encode()[:MAX_DETAIL_BYTES].decode(errors="ignore")


def _pack(detail: message.Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
