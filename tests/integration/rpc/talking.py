"""A client of the contract: the generated stubs, and the errors they tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc
from circumplex.v1 import annotation_pb2, annotation_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_status.rpc_status import from_call  # the synchronous one reads any error

PATIENCE_SECONDS: Final = 30.0
CLIP: Final = bytes(range(256)) * 1000


@dataclass(frozen=True, kw_only=True)
class Client:
    channel: Any
    annotation: Any
    jobs: Any
    health: Any


@dataclass(frozen=True, kw_only=True)
class Told:
    """What an error says."""

    status: str
    code: str
    detail: str
    retry_seconds: float | None
    fields: list[str]
    trace_id: str


@asynccontextmanager
async def talking(target: str, credentials: Any = None, **options: int) -> AsyncGenerator[Client]:
    told = [(f"grpc.{name}", value) for name, value in options.items()]
    channel = (
        grpc.aio.insecure_channel(target, options=told)
        if credentials is None
        else grpc.aio.secure_channel(target, credentials, options=told)
    )
    async with channel:
        yield Client(
            channel=channel,
            annotation=annotation_pb2_grpc.AnnotationServiceStub(channel),
            jobs=jobs_pb2_grpc.JobServiceStub(channel),
            health=health_pb2_grpc.HealthStub(channel),
        )


def told_by(error: grpc.aio.AioRpcError) -> Told:
    """The details of an error, each of a kind that the contract promises."""
    trailing = dict(error.trailing_metadata() or ())
    status = from_call(_Ended(error))
    assert status is not None
    found: dict[str, Any] = {}
    for packed in status.details:
        name = packed.TypeName().removeprefix("google.rpc.")
        found[name] = getattr(error_details_pb2, name)()
        assert packed.Unpack(found[name])
    info = found["ErrorInfo"]
    assert info.domain == "circumplex"
    retry = found.get("RetryInfo")
    violations = found["BadRequest"].field_violations if "BadRequest" in found else ()
    assert info.metadata["trace_id"] == trailing["x-trace-id"]
    return Told(
        status=error.code().name,
        code=info.reason.lower(),
        detail=status.message,
        retry_seconds=None if retry is None else retry.retry_delay.ToNanoseconds() / 1e9,
        fields=[each.field for each in violations],
        trace_id=info.metadata["trace_id"],
    )


class _Ended:
    """An error as the status library wants to see it."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code
        self.details = error.details
        self.trailing_metadata = lambda: tuple(error.trailing_metadata() or ())


async def refusal(call: Any) -> Told:
    """What is told by a call that must fail."""
    try:
        if hasattr(call, "read"):
            while await call.read() is not grpc.aio.EOF:
                continue
        answered = await call
    except grpc.aio.AioRpcError as error:
        return told_by(error)
    raise AssertionError(f"not refused: {answered}")


def submission(clip: bytes = CLIP, pieces: int = 7, **options: Any) -> Iterable[Any]:
    """The requests that submit a clip."""
    yield jobs_pb2.SubmitJobRequest(options=jobs_pb2.SubmitOptions(**options))
    size = len(clip) // pieces + 1
    for start in range(0, len(clip), size):
        yield jobs_pb2.SubmitJobRequest(data=clip[start : start + size])


async def submitted(client: Client, **options: Any) -> str:
    """The id of a job that has just been submitted."""
    return (await client.jobs.SubmitJob(submission(**options))).job.id


def config(script: str = "") -> annotation_pb2.StreamingAnnotateRequest:
    """The first message of a stream of JPEG frames."""
    frames = annotation_pb2.FrameMedia(encoding=annotation_pb2.FRAME_ENCODING_JPEG)
    told = annotation_pb2.StreamConfig(frames=frames, resume_token=script)
    return annotation_pb2.StreamingAnnotateRequest(config=told)


def frame(index: int, size: int = 100) -> annotation_pb2.StreamingAnnotateRequest:
    picture = annotation_pb2.VideoFrame(time_seconds=index / 25, data=bytes(size))
    return annotation_pb2.StreamingAnnotateRequest(frame=picture)


async def opened(client: Client, script: str = "", **options: Any) -> Any:
    """A stream whose config is acknowledged."""
    call = client.annotation.StreamingAnnotate(**options)
    await call.write(config(script))
    assert (await call.read()).config_ack.stream_id == "pretended"
    return call


async def rest_of(call: Any) -> AsyncIterator[Any]:
    while (response := await call.read()) is not grpc.aio.EOF:
        yield response


async def until(call: Any, status: int) -> None:
    """Read on, in a watch of health, until this is told."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await call.read()).status != status:
            continue
