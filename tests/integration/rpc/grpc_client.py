"""gRPC client of the tests: the generated stubs, requests, and parsed errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import grpc
from circumplex.v1 import annotation_pb2, annotation_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc

TIMEOUT_SECONDS: Final = 30.0
END_OF_STREAM: Final = cast(object, grpc.aio.EOF)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # not in the stubs
CLIP: Final = bytes(range(256)) * 1000


@dataclass(frozen=True, kw_only=True)
class GrpcClient:
    channel: Any
    annotation: Any
    jobs: Any
    health: Any


@dataclass(frozen=True, kw_only=True)
class GrpcErrorDetails:
    """Details of a failed call, each of a kind that the contract promises."""

    status: str
    code: str
    detail: str
    retry_seconds: float | None
    fields: list[str]
    trace_id: str


@asynccontextmanager
async def open_grpc_client(
    target: str, credentials: Any = None, **options: int
) -> AsyncGenerator[GrpcClient]:
    arguments = [(f"grpc.{name}", value) for name, value in options.items()]
    channel = (
        grpc.aio.insecure_channel(target, options=arguments)
        if credentials is None
        else grpc.aio.secure_channel(target, credentials, options=arguments)
    )
    async with channel:
        yield GrpcClient(
            channel=channel,
            annotation=annotation_pb2_grpc.AnnotationServiceStub(channel),
            jobs=jobs_pb2_grpc.JobServiceStub(channel),
            health=health_pb2_grpc.HealthStub(channel),
        )


def parse_error(error: grpc.aio.AioRpcError) -> GrpcErrorDetails:
    """Parse the details of a failed call."""
    trailing = dict(error.trailing_metadata() or ())
    packed_status = trailing["grpc-status-details-bin"]
    assert isinstance(packed_status, bytes)
    status = status_pb2.Status.FromString(packed_status)
    assert (status.code, status.message) == (error.code().value[0], error.details())
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
    return GrpcErrorDetails(
        status=error.code().name,
        code=info.reason.lower(),
        detail=status.message,
        retry_seconds=None if retry is None else retry.retry_delay.ToNanoseconds() / 1e9,
        fields=[each.field for each in violations],
        trace_id=info.metadata["trace_id"],
    )


async def expect_error(call: Any) -> GrpcErrorDetails:
    """Return the error of a call that must fail."""
    try:
        if hasattr(call, "read"):
            while await call.read() is not END_OF_STREAM:
                continue
        response = await call
    except grpc.aio.AioRpcError as error:
        return parse_error(error)
    raise AssertionError(f"not refused: {response}")


def make_submit_requests(clip: bytes = CLIP, chunk_count: int = 7, **options: Any) -> Iterable[Any]:
    """Yield the requests that submit a clip."""
    yield jobs_pb2.SubmitJobRequest(options=jobs_pb2.SubmitOptions(**options))
    size = len(clip) // chunk_count + 1
    for start in range(0, len(clip), size):
        yield jobs_pb2.SubmitJobRequest(data=clip[start : start + size])


async def submit_job(client: GrpcClient, **options: Any) -> str:
    """Submit a job; returns its id."""
    return (await client.jobs.SubmitJob(make_submit_requests(**options))).job.id


def make_config_request(script: str = "") -> annotation_pb2.StreamingAnnotateRequest:
    """First message of a stream of JPEG frames."""
    frames = annotation_pb2.FrameMedia(encoding=annotation_pb2.FRAME_ENCODING_JPEG)
    config = annotation_pb2.StreamConfig(frames=frames, resume_token=script)
    return annotation_pb2.StreamingAnnotateRequest(config=config)


def make_frame_request(index: int, size: int = 100) -> annotation_pb2.StreamingAnnotateRequest:
    frame = annotation_pb2.VideoFrame(time_seconds=index / 25, data=bytes(size))
    return annotation_pb2.StreamingAnnotateRequest(frame=frame)


async def open_stream(client: GrpcClient, script: str = "", **options: Any) -> Any:
    """Open a stream; returns once its config is acknowledged."""
    call = client.annotation.StreamingAnnotate(**options)
    await call.write(make_config_request(script))
    assert (await call.read()).config_ack.stream_id == "pretended"
    return call


async def read_responses(call: Any) -> AsyncIterator[Any]:
    while (response := await call.read()) is not END_OF_STREAM:
        yield response


async def wait_for_health(call: Any, status: int) -> None:
    """Read a watch of health until it has this status."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while (await call.read()).status != status:
            continue
