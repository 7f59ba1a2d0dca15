"""OpenAPI beyond the types: every error of a route, how to upload, and real examples.

The examples are made from job records by the serializers that make the responses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

from service.domain.caller import Caller, Scope
from service.errors import (
    CircumplexError,
    ClipTruncated,
    InternalError,
    QueueUnavailable,
    StoreUnavailable,
    Unauthenticated,
)
from service.gateway.rest.dependencies import IDEMPOTENCY_KEY_HEADER
from service.gateway.rest.multipart import CLIP_FIELD, FORM_MEDIA_TYPE
from service.gateway.rest.problems import PROBLEM_MEDIA_TYPE, problem_details
from service.gateway.rest.schemas import (
    JOBS_PATH,
    JobEvent,
    JobPage,
    Problem,
    job_to_schema,
)
from service.gateway.use_cases.idempotency import KEY_PATTERN, MAX_KEY_LENGTH
from service.gateway.use_cases.jobs import encode_page_token
from service.jobs.queue.events import JobUpdate
from service.jobs.record import JobRecord, JobState

COMMON_ERRORS: Final = (QueueUnavailable, StoreUnavailable, InternalError)
"""Errors of every route of a job."""
CLIP_SCHEMA: Final = {"type": "string", "format": "binary", "minLength": 1}
UPLOAD_REQUEST_DOC: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The clip: the file field `clip` of a form, or the body itself. A form may "
        "have the options of the query as text fields; an option is in one place, or equal in "
        "both.",
        "content": {
            FORM_MEDIA_TYPE: {
                "schema": {
                    "type": "object",
                    "required": [CLIP_FIELD],
                    "properties": {CLIP_FIELD: CLIP_SCHEMA},
                    "additionalProperties": False,
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
        "description": "W3C trace id: from the request's `traceparent`, or a new one.",
        "schema": {"type": "string"},
    }
}

EXAMPLE_TRACE_ID: Final = "4bf92f3577b34da6a3ce929d0e0e4736"

RETRY_AFTER_HEADER_DOC: Final[dict[str, Any]] = {
    "Retry-After": {
        "description": "Seconds to wait before the request is repeated; only where that can help.",
        "schema": {"type": "integer", "minimum": 1},
    }
}

CHALLENGE_HEADER_DOC: Final[dict[str, Any]] = {
    "WWW-Authenticate": {
        "description": "The authentication scheme of API keys (RFC 6750).",
        "schema": {"type": "string"},
    }
}

_IDEMPOTENCY_KEY_DOC: Final = {
    "name": IDEMPOTENCY_KEY_HEADER,
    "in": "header",
    "description": "Any text that is unique to this submission, for instance a random UUID. A "
    "request repeated with the same key and body returns the job of the first one; with another "
    "body it is refused.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_KEY_LENGTH,
        "pattern": KEY_PATTERN,
    },
}
"""Listed among OpenAPI's components and not among an operation's parameters: tools that generate
values from a schema would repeat one key in unrelated requests."""

EXAMPLE_CALLER: Final = Caller(
    owner="4fTq0ZkWb1xD", name="studio", scopes=frozenset({Scope.SUBMIT, Scope.READ})
)
_CREATED_AT: Final = 1_795_404_618.214775
_QUEUED_RECORD: Final = JobRecord(
    id="0c2f3a52-6f0e-4a5e-9d7b-6a1f6f1f2b11",
    filename="interview.mp4",
    media_type="video/mp4",
    clip_bytes=18_734_211,
    trace_id=EXAMPLE_TRACE_ID,
    model="mini@1",
    owner=EXAMPLE_CALLER.owner,
    created_at=_CREATED_AT,
)
RUNNING_RECORD: Final = replace(
    _QUEUED_RECORD,
    state=JobState.RUNNING,
    attempt=1,
    started_at=_CREATED_AT + 2.1,
    attempt_started_at=_CREATED_AT + 2.1,
    frames_done=640,
    frames_total=1500,
)
_SUCCEEDED_RECORD: Final = replace(
    RUNNING_RECORD,
    state=JobState.SUCCEEDED,
    frames_done=1500,
    published=1,
    finished_at=_CREATED_AT + 53.4,
    expires_at=_CREATED_AT + 53.4 + 7 * 24 * 3600,
)
_FAILED_RECORD: Final = replace(
    _SUCCEEDED_RECORD,
    id="7d1b6c1e-9a3f-4c56-8f3e-2f8f0b7f5a90",
    filename="cut short.mp4",
    created_at=_CREATED_AT - 3.25,
    state=JobState.FAILED,
    frames_done=0,
    frames_total=None,
    published=None,
    error_code=ClipTruncated.code,
    error_detail=ClipTruncated.title(),
)

QUEUED: Final = job_to_schema(_QUEUED_RECORD, EXAMPLE_CALLER, _CREATED_AT)
RUNNING: Final = job_to_schema(RUNNING_RECORD, EXAMPLE_CALLER, _CREATED_AT + 24.5)
SUCCEEDED: Final = job_to_schema(_SUCCEEDED_RECORD, EXAMPLE_CALLER, _CREATED_AT + 60)
CANCELLED: Final = job_to_schema(
    replace(_SUCCEEDED_RECORD, state=JobState.CANCELLED, published=None),
    EXAMPLE_CALLER,
    _CREATED_AT + 60,
)
RETRIED: Final = job_to_schema(
    replace(_QUEUED_RECORD, attempt=1), EXAMPLE_CALLER, _CREATED_AT + 120
)
PAGE: Final = JobPage(
    jobs=[RUNNING, job_to_schema(_FAILED_RECORD, EXAMPLE_CALLER, _CREATED_AT + 24.5)],
    next_page_token=encode_page_token(f"{_FAILED_RECORD.created_at:.6f}"),
)
EVENT: Final = JobUpdate(
    id=f"{int(1000 * (_CREATED_AT + 24.5))}-0",
    kind="progress",
    state=JobState.RUNNING,
    attempt=1,
    frames_done=RUNNING_RECORD.frames_done,
    frames_total=RUNNING_RECORD.frames_total,
    worker=None,
    error_code=None,
)


def header_doc(description: str, *, kind: str = "string") -> dict[str, Any]:
    """OpenAPI's description of a response header."""
    return {"description": description, "schema": {"type": kind}}


def response_doc(
    description: str,
    example: BaseModel | None = None,
    headers: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """OpenAPI's description of a success, with an example."""
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
    """OpenAPI's responses for the errors of a route, each with a real example."""
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


def finish_openapi(app: FastAPI, *, requires_keys: bool) -> None:
    """Add the schemas of problems and events; remove those of FastAPI's validation errors."""
    document: dict[str, Any] = app.openapi()
    schemas: dict[str, Any] = document["components"]["schemas"]
    for model in (Problem, JobEvent):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    document["components"]["parameters"] = {"IdempotencyKey": _IDEMPOTENCY_KEY_DOC}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            _drop_validation_responses(operation["responses"])
            for parameter in operation.get("parameters", ()):
                _drop_null_type(parameter["schema"])
    _describe_form_options(document["paths"][JOBS_PATH]["post"])
    if not requires_keys:
        _make_api_keys_optional(document)


def _drop_null_type(schema: dict[str, Any]) -> None:
    """Remove `null` from an optional parameter: it is omitted, never sent as text."""
    choices = [choice for choice in schema.pop("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        schema |= choices[0]


def _drop_validation_responses(responses: dict[str, Any]) -> None:
    """Remove FastAPI's own 422 response: invalid parameters are answered with a problem."""
    content: dict[str, Any] = responses.get("422", {}).get("content", {})
    content.pop("application/json", None)
    if "422" in responses and not content:
        del responses["422"]


def _describe_form_options(operation: dict[str, Any]) -> None:
    """Add the parameters of a submission's query as text fields of its form."""
    form: dict[str, Any] = operation["requestBody"]["content"][FORM_MEDIA_TYPE]["schema"]
    for parameter in operation["parameters"]:
        if parameter["in"] == "query":
            description = {"description": parameter.get("description", "")}
            form["properties"][parameter["name"]] = {**parameter["schema"], **description}


def _make_api_keys_optional(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            if "security" in operation:
                operation["security"].append({})
