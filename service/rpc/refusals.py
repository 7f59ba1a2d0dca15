"""Errors as google.rpc.Status: translated here, once, for every method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import error_details_pb2 as details
from google.rpc import status_pb2

from service.errors import RETRY_SECONDS, CircumplexError, RequestInvalid
from service.telemetry.logs import TRACE_ID

DOMAIN: Final = "circumplex"
DETAIL_BYTES: Final = 1000
"""Of the text, which travels three times, once percent-encoded; 8 KiB is what a client takes."""
DETAILS_KEY: Final = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How a call ends that an error ends. metadata: what goes with the status."""

    code: grpc.StatusCode
    message: str
    metadata: tuple[tuple[str, bytes], ...]


def refusal_of(error: CircumplexError) -> Refusal:
    """What a client is told of an error."""
    code = grpc.StatusCode[error.grpc_status]
    text = _shortened(error.detail)
    status = status_pb2.Status(
        code=code.value[0], message=text, details=[*map(_packed, _about(error))]
    )
    return Refusal(code=code, message=text, metadata=((DETAILS_KEY, status.SerializeToString()),))


def _about(error: CircumplexError) -> list[message.Message]:
    told: list[message.Message] = [
        details.ErrorInfo(
            reason=error.code.upper(),
            domain=DOMAIN,
            metadata={"title": error.title(), "trace_id": TRACE_ID.get()},
        )
    ]
    if error.retryable:
        milliseconds = round(1000 * (error.retry_seconds or RETRY_SECONDS))
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(milliseconds)
        told.append(details.RetryInfo(retry_delay=delay))
    if isinstance(error, RequestInvalid) and error.field is not None:
        violation = details.BadRequest.FieldViolation(
            field=error.field, description=_shortened(error.detail)
        )
        told.append(details.BadRequest(field_violations=[violation]))
    return told


def _shortened(text: str) -> str:
    return text.encode()[:DETAIL_BYTES].decode(errors="ignore")


def _packed(detail: message.Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
