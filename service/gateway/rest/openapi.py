"""What OpenAPI says beyond the types: every status with its problems, and how to upload."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from service.errors import (
    CircumplexError,
    InternalError,
    QueueUnavailable,
    StoreUnavailable,
    Unauthenticated,
)
from service.gateway.rest.multipart import CLIP_FIELD
from service.gateway.rest.problems import PROBLEM_MEDIA_TYPE, problem_details

COMMON_ERRORS: Final = (QueueUnavailable, StoreUnavailable, InternalError)
"""What every route of a job can answer."""
CLIP_SCHEMA: Final = {"type": "string", "format": "binary", "minLength": 1}
UPLOAD_REQUEST_DOC: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The clip: as the file field `clip` of a form, or as the body itself.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [CLIP_FIELD],
                    "properties": {CLIP_FIELD: CLIP_SCHEMA},
                }
            },
            **{
                media_type: {"schema": CLIP_SCHEMA}
                for media_type in ("application/octet-stream", "video/*", "audio/*")
            },
        },
    }
}

TRACE_HEADER_DOC: Final[dict[str, Any]] = {
    "X-Trace-Id": {
        "description": "W3C trace id: that of the request's `traceparent`, or a new one.",
        "schema": {"type": "string"},
    }
}

EXAMPLE_TRACE_ID: Final = "4bf92f3577b34da6a3ce929d0e0e4736"


RETRY_AFTER_HEADER_DOC: Final[dict[str, Any]] = {
    "Retry-After": {
        "description": "Seconds to the next try, where one can help.",
        "schema": {"type": "integer", "minimum": 1},
    }
}


CHALLENGE_HEADER_DOC: Final[dict[str, Any]] = {
    "WWW-Authenticate": {
        "description": "The scheme that an API key may come with (RFC 6750).",
        "schema": {"type": "string"},
    }
}


def header_doc(description: str, *, kind: str = "string") -> dict[str, Any]:
    """OpenAPI's description of a response header."""
    return {"description": description, "schema": {"type": kind}}


def response_doc(
    description: str,
    example: BaseModel | None = None,
    headers: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """OpenAPI's description of a success, with what was really answered once."""
    document: dict[str, Any] = {
        "description": description,
        "headers": TRACE_HEADER_DOC | dict(headers or {}),
        **more,
    }
    if example is not None:
        payload = example.model_dump(mode="json", exclude_unset=True)
        document["content"] = {"application/json": {"example": payload}}
    return document


def problem_docs(path: str, *errors: type[CircumplexError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for the errors a route can answer, each with its real example."""
    by_status: dict[int, list[type[CircumplexError]]] = defaultdict(list)
    for error in errors:
        by_status[error.http_status].append(error)
    return {
        status: {
            "description": "; ".join(error.title() for error in found),
            "headers": TRACE_HEADER_DOC
            | (RETRY_AFTER_HEADER_DOC if any(error.retryable for error in found) else {})
            | (CHALLENGE_HEADER_DOC if Unauthenticated in found else {}),
            "content": {
                PROBLEM_MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {
                        error.code: {
                            "summary": error.title(),
                            "value": {
                                **problem_details(error(), path),
                                "trace_id": EXAMPLE_TRACE_ID,
                            },
                        }
                        for error in found
                    },
                }
            },
        }
        for status, found in by_status.items()
    }
