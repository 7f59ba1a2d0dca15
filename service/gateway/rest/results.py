"""Fetch the result of a job."""

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
    ResultFormatUnknown,
    ResultNotReady,
    StoreFull,
)
from service.gateway.rest.content_negotiation import choose_format
from service.gateway.rest.dependencies import AUTH_ERRORS, GatewayDep, ReadCaller
from service.gateway.rest.openapi import COMMON_ERRORS, problem_docs, response_doc
from service.gateway.rest.problems import problem_response
from service.gateway.rest.schemas import JobId
from service.gateway.rest.urls import RESULT_PATH
from service.gateway.use_cases.jobs import find_job, open_result
from service.results.formats import FORMATS

JOB_ERRORS: Final = (
    *ClipError.__subclasses__(),
    *(InferenceFailed, InferenceUnavailable, DecoderKilled, FaceModelsMissing, StoreFull),
)
"""What a job can have failed with."""

router = APIRouter(tags=["jobs"])


@router.get(
    RESULT_PATH,
    summary="Fetch the result",
    response_class=StreamingResponse,
    responses={
        200: response_doc(
            "The result: one value, or one row, for every decoded frame.",
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
    format: Annotated[  # noqa: A002
        str | None,
        Query(
            description="Which format; without it, Accept decides.",
            json_schema_extra={"enum": [*FORMATS]},
        ),
    ] = None,
) -> Response:
    """The result in the format asked for; a failed job answers its own problem."""
    result_format = choose_format(format, ", ".join(request.headers.getlist("accept")))
    record = await find_job(gateway, caller, job_id)
    if record.error is not None:
        return problem_response(
            request, record.error
        )  # not raised: nothing is wrong with this request
    content = await open_result(gateway, record, result_format)
    headers: dict[str, Any] = {
        "Content-Disposition": f'inline; filename="{record.id}.{result_format.name}"',
        "Vary": "Accept",
    }
    return StreamingResponse(content, media_type=result_format.media_type, headers=headers)
