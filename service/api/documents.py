"""What OpenAPI says beyond the types: every status with its problems, and how to upload."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from service.api.form import CLIP_FIELD
from service.api.problems import MEDIA_TYPE, problem
from service.errors import CircumplexError

UPLOAD_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The clip: as the file field `clip` of a form, or as the body itself.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [CLIP_FIELD],
                    "properties": {CLIP_FIELD: {"type": "string", "format": "binary"}},
                }
            },
            **{
                media_type: {"schema": {"type": "string", "format": "binary"}}
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


def problems_of(path: str, *errors: type[CircumplexError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for the errors a route can answer, each with its real example."""
    by_status: dict[int, list[type[CircumplexError]]] = defaultdict(list)
    for error in errors:
        by_status[error.http_status].append(error)
    return {
        status: {
            "description": "; ".join(error.title() for error in found),
            "headers": TRACE_HEADER_DOCUMENT,
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
