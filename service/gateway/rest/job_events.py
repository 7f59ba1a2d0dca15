"""The route of a job's events, as server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from service.domain.caller import Caller
from service.errors import (
    JobUnknown,
    QuotaExceeded,
    RequestInvalid,
    TooManySubscribers,
    Unauthenticated,
)
from service.gateway.context import GatewayContext
from service.gateway.rest.dependencies import AUTH_ERRORS, GatewayDep, ReadCaller
from service.gateway.rest.openapi import (
    COMMON_ERRORS,
    EVENT,
    RUNNING_RECORD,
    problem_docs,
    response_doc,
)
from service.gateway.rest.schemas import EVENTS_PATH, JobId, event_to_schema
from service.gateway.use_cases.follow_job import watch_job
from service.gateway.use_cases.jobs import find_job
from service.jobs.queue.events import JobUpdate
from service.jobs.record import JobRecord, JobState

RECONNECT_MILLISECONDS: Final = 2000
"""Delay after which a disconnected client reconnects (`retry`)."""
KEEP_ALIVE_SECONDS: Final = 15.0
"""Interval of comments that keep an idle event stream open."""
EVENT_ID_PATTERN: Final = r"^[0-9]{1,19}(-[0-9]{1,19})?$"
EVENT_STREAM_MEDIA_TYPE: Final = EventSourceResponse.media_type

router = APIRouter(tags=["jobs"])


async def _subscriber_slot(gateway: GatewayDep, caller: ReadCaller) -> AsyncGenerator[None]:
    with gateway.subscriber_limiter.subscription(caller, gateway.settings):
        yield


def encode_event(record: JobRecord, event: JobUpdate) -> bytes:
    """Encode an event of the job `record` as a server-sent event."""
    payload = event_to_schema(record, event).model_dump_json()
    return format_sse_event(data_str=payload, event=event.kind, id=event.id)


EVENT_STREAM_CONTENT: Final = {
    EVENT_STREAM_MEDIA_TYPE: {
        "schema": {
            "type": "object",
            "description": "One event.",
            "properties": {
                "event": {"enum": ["state", "progress", "deleted"]},
                "id": {"type": "string", "pattern": EVENT_ID_PATTERN},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": {"$ref": "#/components/schemas/JobEvent"},
                },
                "retry": {"type": "integer"},
            },
        },
        "example": encode_event(RUNNING_RECORD, EVENT).decode(),
    }
}


@router.get(
    EVENTS_PATH,
    summary="Follow a job",
    dependencies=[Depends(_subscriber_slot)],
    response_class=StreamingResponse,
    responses={
        200: response_doc(
            "Server-sent events: `state` and `progress`, each with the state of the job at that "
            "time; `deleted` when the job is deleted. The stream ends with the job.",
            content=EVENT_STREAM_CONTENT,
        ),
        204: response_doc(
            "The job has ended and Last-Event-ID was its last event: do not reconnect."
        ),
        **problem_docs(
            EVENTS_PATH,
            *AUTH_ERRORS,
            JobUnknown,
            QuotaExceeded,
            RequestInvalid,
            TooManySubscribers,
            *COMMON_ERRORS,
        ),
    },
)
async def follow_job(
    job_id: JobId,
    gateway: GatewayDep,
    caller: ReadCaller,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            pattern=EVENT_ID_PATTERN,
            description="Id of the last event received; without it, the first event is the "
            "current state of the job.",
        ),
    ] = None,
) -> Response:
    """Streams the events of a job. Each event holds the whole state: none is lost by a gap."""
    record = await find_job(gateway, caller, job_id)
    if (
        record.state.is_final
        and last_event_id is not None
        and not await gateway.job_queue.events.read_since(job_id, last_event_id)
    ):
        return Response(status_code=204)
    stream = _stream_events(gateway, caller, record, last_event_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventSourceResponse(stream, headers=headers)


async def _stream_events(
    gateway: GatewayContext, caller: Caller, record: JobRecord, last_event_id: str | None
) -> AsyncGenerator[bytes]:
    yield format_sse_event(data_str=None, retry=RECONNECT_MILLISECONDS)
    last_sent = time.monotonic()
    try:
        async with aclosing(watch_job(gateway, caller, record.id, last_event_id)) as events:
            async for event in events:
                if event is not None:
                    record = _with_attempt_start(record, event)
                    yield encode_event(record, event)
                elif time.monotonic() - last_sent > KEEP_ALIVE_SECONDS:
                    yield KEEPALIVE_COMMENT
                else:
                    continue
                last_sent = time.monotonic()
    except JobUnknown:
        yield format_sse_event(data_str=json.dumps({"job_id": record.id}), event="deleted")
    except Unauthenticated:
        return  # a reconnecting client gets 401


def _with_attempt_start(record: JobRecord, event: JobUpdate) -> JobRecord:
    """The record, with the start of the attempt that the event reports, if it does."""
    if event.kind != "state" or event.state is not JobState.RUNNING:
        return record
    return replace(record, attempt=event.attempt, attempt_started_at=event.occurred_at)
