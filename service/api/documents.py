"""What OpenAPI says beyond the types: every status with its problems, and how to upload."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from service.api.form import CLIP_FIELD
from service.api.problems import MEDIA_TYPE, problem
from service.errors import (
    CircumplexError,
    InternalError,
    QueueUnavailable,
    StoreUnavailable,
    Unauthenticated,
)

AWAY: Final = (QueueUnavailable, StoreUnavailable, InternalError)
"""What every route of a job can answer."""
CLIP_BYTES: Final = {"type": "string", "format": "binary", "minLength": 1}
UPLOAD_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The clip: as the file field `clip` of a form, or as the body itself.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [CLIP_FIELD],
                    "properties": {CLIP_FIELD: CLIP_BYTES},
                }
            },
            **{
                media_type: {"schema": CLIP_BYTES}
                for media_type in ("application/octet-stream", "video/*", "audio/*")
            },
        },
    }
}

TRACE_HEADER_DOCUMENT: Final[dict[str, Any]] = {
    "X-Trace-Id": {
        "description": "W3C trace id: that of the request's `traceparent`, or a new one.",
        "schema": {"type": "string"},
    }
}

EXAMPLE_TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"


RETRY_HEADER_DOCUMENT: Final[dict[str, Any]] = {
    "Retry-After": {
        "description": "Seconds to the next try, where one can help.",
        "schema": {"type": "integer", "minimum": 1},
    }
}


CHALLENGE_HEADER_DOCUMENT: Final[dict[str, Any]] = {
    "WWW-Authenticate": {
        "description": "The scheme that an API key may come with (RFC 6750).",
        "schema": {"type": "string"},
    }
}


def header(description: str, *, kind: str = "string") -> dict[str, Any]:
    """OpenAPI's description of a response header."""
    return {"description": description, "schema": {"type": kind}}


def answers(
    description: str,
    example: BaseModel | None = None,
    headers: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """OpenAPI's description of a success, with what was really answered once."""
    told: dict[str, Any] = {
        "description": description,
        "headers": TRACE_HEADER_DOCUMENT | dict(headers or {}),
        **more,
    }
    if example is not None:
        shown = example.model_dump(mode="json", exclude_unset=True)
        told["content"] = {"application/json": {"example": shown}}
    return told


def problems_of(path: str, *errors: type[CircumplexError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for the errors a route can answer, each with its real example."""
    by_status: dict[int, list[type[CircumplexError]]] = defaultdict(list)
    for error in errors:
        by_status[error.http_status].append(error)
    return {
        status: {
            "description": "; ".join(error.title() for error in found),
            "headers": TRACE_HEADER_DOCUMENT
            | (RETRY_HEADER_DOCUMENT if any(error.retryable for error in found) else {})
            | (CHALLENGE_HEADER_DOCUMENT if Unauthenticated in found else {}),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {
                        error.code: {
                            "summary": error.title(),
                            "value": {**problem(error(), path), "trace_id": EXAMPLE_TRACE},
                        }
                        for error in found
                    },
                }
            },
        }
        for status, found in by_status.items()
    }
