"""The route of a job's result, and the choice of its format (RFC 9110, 12.5.1)."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from service.errors import (
    ClipError,
    DecoderKilled,
    FaceModelsMissing,
    InferenceFailed,
    InferenceUnavailable,
    JobUnknown,
    ModelChanged,
    ModelNotServed,
    ModelsMissing,
    RequestInvalid,
    ResultFormatUnknown,
    ResultNotReady,
    StoreFull,
)
from service.gateway.rest.dependencies import (
    AUTH_ERRORS,
    GatewayDep,
    ReadCaller,
    SingleParameters,
)
from service.gateway.rest.openapi import COMMON_ERRORS, problem_docs, response_doc
from service.gateway.rest.problems import problem_response
from service.gateway.rest.schemas import RESULT_PATH, JobId
from service.gateway.use_cases.jobs import find_job, open_result
from service.results.formats import FORMATS, ResultFormat, find_format

JOB_ERRORS: Final = (
    *ClipError.__subclasses__(),
    *(InferenceFailed, InferenceUnavailable, DecoderKilled, FaceModelsMissing, StoreFull),
    *(ModelNotServed, ModelChanged, ModelsMissing),
)
"""Errors that a job can fail with."""

router = APIRouter(tags=["jobs"])


@router.get(
    RESULT_PATH,
    summary="Fetch the result",
    response_class=StreamingResponse,
    responses={
        200: response_doc(
            "The result: one value or row per decoded frame.",
            content={
                each.media_type: {"schema": {"type": kind}}
                for each, kind in zip(FORMATS.values(), ("object", "string"), strict=True)
            },
        ),
        **problem_docs(
            RESULT_PATH,
            *AUTH_ERRORS,
            JobUnknown,
            ResultNotReady,
            RequestInvalid,
            ResultFormatUnknown,
            *JOB_ERRORS,
            *COMMON_ERRORS,
        ),
    },
)
async def get_result(
    job_id: JobId,
    request: Request,
    gateway: GatewayDep,
    caller: ReadCaller,
    _single: SingleParameters,
    format: Annotated[  # noqa: A002 - the parameter's name
        str | None,
        Query(
            description="Format of the result; default: by the Accept header.",
            json_schema_extra={"enum": [*FORMATS]},
        ),
    ] = None,
) -> Response:
    """Returns the result in the requested format; for a failed job, its error as a problem."""
    result_format = choose_format(format, ", ".join(request.headers.getlist("accept")))
    record = await find_job(gateway, caller, job_id)
    if record.error is not None:
        return problem_response(request, record.error)  # not raised: the request itself succeeded
    content = await open_result(gateway, record, result_format)
    headers: dict[str, Any] = {
        "Content-Disposition": f'inline; filename="{record.id}.{result_format.name}"',
        "Vary": "Accept",
    }
    return StreamingResponse(content, media_type=result_format.media_type, headers=headers)


def choose_format(name: str | None, accept: str | None) -> ResultFormat:
    """The format with this name, else the one with the highest quality in Accept.

    Args: accept: all Accept headers of the request, joined by commas.
    Raises: ResultFormatUnknown.
    """
    if name is not None:
        return find_format(name)
    ranges = _parse_ranges(accept or "*/*")
    quality, best = max(
        ((_quality_of(each, ranges), each) for each in FORMATS.values()), key=lambda pair: pair[0]
    )
    if quality == 0.0:
        offered = ", ".join(each.media_type for each in FORMATS.values())
        raise ResultFormatUnknown(f"the available formats are {offered}")
    return best


def _parse_ranges(accept: str) -> dict[str, float]:
    """Media ranges and their quality in [0, 1]; unreadable ones are ignored."""
    found: dict[str, float] = {}
    for part in accept.split(","):
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = "1"
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            quality = value.strip() if name.strip() == "q" else quality
        if quality.replace(".", "", 1).isdecimal():
            found[media_range] = min(float(quality), 1.0)
    return found


def _quality_of(offered: ResultFormat, ranges: dict[str, float]) -> float:
    """The quality of a format by the most specific range that covers it; 0 without one."""
    kind = offered.media_type.partition("/")[0]
    for media_range in (offered.media_type, f"{kind}/*", "*/*"):
        if media_range in ranges:
            return ranges[media_range]
    return 0.0
