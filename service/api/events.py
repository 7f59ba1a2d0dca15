"""What happens to a job, as server-sent events."""

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

from service.api.access import REFUSALS, Reader
from service.api.documents import AWAY, answers, problems_of
from service.api.examples import EVENT, RUNNING_RECORD
from service.api.gateway import GatewayOfApp
from service.api.paths import EVENTS_PATH
from service.api.schemas import JobId
from service.api.showing import show_event
from service.domain.caller import Caller
from service.errors import (
    JobUnknown,
    RequestInvalid,
    Unauthenticated,
    WatchersFull,
)
from service.jobs.events import Event
from service.jobs.record import JobRecord, JobState
from service.office.following import follow
from service.office.gateway import Gateway
from service.office.jobs import find_job

RECONNECT_MILLISECONDS: Final = 2000
KEEP_ALIVE_SECONDS: Final = 15.0
EVENT_ID: Final = r"^[0-9]{1,19}(-[0-9]{1,19})?$"
STREAM: Final = EventSourceResponse.media_type

router = APIRouter(tags=["jobs"])


async def _seated(gateway: GatewayOfApp, _: Reader) -> AsyncGenerator[None]:
    with gateway.watchers.seat(gateway.settings.max_subscribers):
        yield


def write_event(record: JobRecord, event: Event) -> bytes:
    """An event as it is sent, of the job that `record` tells of."""
    shown = show_event(record, event).model_dump_json()
    return format_sse_event(data_str=shown, event=event.kind, id=event.id)


CONTENT: Final = {
    STREAM: {
        "schema": {
            "type": "object",
            "description": "One event.",
            "properties": {
                "event": {"enum": ["state", "progress", "deleted"]},
                "id": {"type": "string", "pattern": EVENT_ID},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": {"$ref": "#/components/schemas/JobEvent"},
                },
                "retry": {"type": "integer"},
            },
        },
        "example": write_event(RUNNING_RECORD, EVENT).decode(),
    }
}


@router.get(
    EVENTS_PATH,
    summary="Follow a job",
    dependencies=[Depends(_seated)],
    response_class=StreamingResponse,
    responses={
        200: answers(
            "Server-sent events: `state` and `progress`, each with the job as it then stood; "
            "`deleted` when the job is deleted. The stream ends with the job.",
            content=CONTENT,
        ),
        204: answers("The job has ended and Last-Event-ID was its last event: do not come back."),
        **problems_of(EVENTS_PATH, *REFUSALS, JobUnknown, RequestInvalid, WatchersFull, *AWAY),
    },
)
async def follow_job(
    job_id: JobId,
    gateway: GatewayOfApp,
    caller: Reader,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            pattern=EVENT_ID,
            description="The id of the last event that has arrived; without it, the first event "
            "tells how the job stands.",
        ),
    ] = None,
) -> Response:
    """Each event tells how the job stands: one that is missed is not missing."""
    record = await find_job(gateway, caller, job_id)
    if (
        record.state.is_final
        and last_event_id is not None
        and not await gateway.desk.events.since(job_id, last_event_id)
    ):
        return Response(status_code=204)
    stream = _stream(gateway, caller, record, last_event_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventSourceResponse(stream, headers=headers)


async def _stream(
    gateway: Gateway, caller: Caller, record: JobRecord, last_id: str | None
) -> AsyncGenerator[bytes]:
    yield format_sse_event(data_str=None, retry=RECONNECT_MILLISECONDS)
    sent = time.monotonic()
    try:
        async with aclosing(follow(gateway, caller, record.id, last_id)) as events:
            async for event in events:
                if event is not None:
                    record = _started(record, event)
                    yield write_event(record, event)
                elif time.monotonic() - sent > KEEP_ALIVE_SECONDS:
                    yield KEEPALIVE_COMMENT
                else:
                    continue
                sent = time.monotonic()
    except JobUnknown:
        yield format_sse_event(data_str=json.dumps({"job_id": record.id}), event="deleted")
    except Unauthenticated:
        return  # whoever comes back hears why


def _started(record: JobRecord, event: Event) -> JobRecord:
    """The record with the start of the attempt that the event tells of, where it does."""
    if event.kind != "state" or event.state is not JobState.RUNNING:
        return record
    return replace(record, attempt=event.attempt, attempt_started_at=event.at)
