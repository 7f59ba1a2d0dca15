"""Fetch the result of a job."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from service.api.access import REFUSALS, Reader
from service.api.documents import AWAY, answers, problems_of
from service.api.gateway import GatewayOfApp
from service.api.negotiation import choose_format
from service.api.paths import RESULT_PATH
from service.api.problems import answer
from service.api.schemas import JobId
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
from service.office.jobs import find_job, open_result
from service.results.formats import FORMATS

ENDS: Final = (
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
        200: answers(
            "The result: one value, or one row, for every decoded frame.",
            content={
                each.media_type: {"schema": {"type": kind}}
                for each, kind in zip(FORMATS.values(), ("object", "string"), strict=True)
            },
        ),
        **problems_of(
            RESULT_PATH, *REFUSALS, JobUnknown, ResultNotReady, ResultFormatUnknown, *ENDS, *AWAY
        ),
    },
)
async def get_result(
    job_id: JobId,
    request: Request,
    gateway: GatewayOfApp,
    caller: Reader,
    format: Annotated[  # noqa: A002
        str | None,
        Query(
            description="Which format; without it, Accept decides.",
            json_schema_extra={"enum": [*FORMATS]},
        ),
    ] = None,
) -> Response:
    """The result in the format asked for; a failed job answers its own problem."""
    chosen = choose_format(format, ", ".join(request.headers.getlist("accept")))
    record = await find_job(gateway, caller, job_id)
    if record.error is not None:
        return answer(request, record.error)  # not raised: nothing is wrong with this request
    content = await open_result(gateway, record, chosen)
    headers: dict[str, Any] = {
        "Content-Disposition": f'inline; filename="{record.id}.{chosen.name}"',
        "Vary": "Accept",
    }
    return StreamingResponse(content, media_type=chosen.media_type, headers=headers)
