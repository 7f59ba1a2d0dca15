"""Client of streams, written against the public contract alone."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from circumplex.v1 import annotation_pb2 as pb
from circumplex.v1 import annotation_pb2_grpc as services
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

Request = pb.StreamingAnnotateRequest
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOutcome:
    """Outcome of a call. reason: of ErrorInfo; "" without an error."""

    responses: list[pb.StreamingAnnotateResponse]
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    retry_seconds: float | None = None

    @property
    def response_counts(self) -> Counter[str]:
        """Number of responses of each kind; `final` and `provisional` are results."""
        return Counter(map(_response_kind, self.responses))

    @property
    def summary(self) -> pb.StreamSummary:
        """The last response, which must be the summary."""
        last = self.responses[-1]
        assert last.HasField("summary")
        return last.summary


async def run_call(
    target: str,
    requests: Iterable[Request],
    *,
    metadata: tuple[tuple[str, str | bytes], ...] = (),
    pause_seconds: float = 0.0,
) -> CallOutcome:
    """Send all requests, half-close, and read to the end of the call."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:
        return await loop.run_in_executor(
            thread, _run_blocking, target, _paced(requests, pause_seconds), metadata
        )


async def call_until_admitted(target: str, requests: list[Request]) -> CallOutcome:
    """Repeat the call until the gateway is not full."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            outcome = await run_call(target, requests)
            if outcome.reason != "STREAMS_FULL":
                return outcome
            await asyncio.sleep(outcome.retry_seconds or 1.0)


def make_config(**fields: Any) -> Request:
    """The first request."""
    return Request(config=pb.StreamConfig(**fields))


def make_frames_config(
    encoding: pb.FrameEncoding = pb.FRAME_ENCODING_JPEG, **fields: Any
) -> Request:
    """The first request of a stream of single frames."""
    return make_config(frames=pb.FrameMedia(encoding=encoding, **fields))


def make_container_config() -> Request:
    """The first request of a stream of container bytes."""
    return make_config(container=pb.ContainerMedia())


def make_frame(seconds: float, data: bytes) -> Request:
    return Request(frame=pb.VideoFrame(time_seconds=seconds, data=data))


def make_frames(jpegs: list[bytes], count: int) -> list[Request]:
    """The first frames, at 25 a second."""
    return [make_frame(index / 25, data) for index, data in enumerate(jpegs[:count])]


def make_audio(data: bytes, seconds: float | None = None) -> Request:
    return Request(audio=pb.AudioChunk(data=data, time_seconds=seconds))


def make_chunk(data: bytes) -> Request:
    return Request(container=pb.ContainerChunk(data=data))


def _run_blocking(
    target: str, requests: Iterator[Request], metadata: tuple[tuple[str, str | bytes], ...]
) -> CallOutcome:
    """Make the call synchronously: grpc.aio may replace the service's status by its own."""
    responses: list[pb.StreamingAnnotateResponse] = []
    with grpc.insecure_channel(target, [("grpc.max_send_message_length", -1)]) as channel:
        stub: Any = services.AnnotationServiceStub(channel)  # generated without types
        stream = stub.StreamingAnnotate(requests, metadata=metadata, timeout=TIMEOUT_SECONDS)
        try:
            responses.extend(stream)
        except grpc.RpcError:
            return _outcome_of_error(responses, stream)
        return CallOutcome(responses=responses)


def _paced(requests: Iterable[Request], pause_seconds: float) -> Iterator[Request]:
    for request in requests:
        yield request
        time.sleep(pause_seconds)


def _outcome_of_error(
    responses: list[pb.StreamingAnnotateResponse], error: grpc.Call
) -> CallOutcome:
    reason, retry_seconds = "", None
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for packed in Status.FromString(value).details:
                if packed.TypeName() == "google.rpc.ErrorInfo":
                    reason = ErrorInfo.FromString(packed.value).reason
                elif packed.TypeName() == "google.rpc.RetryInfo":
                    delay = RetryInfo.FromString(packed.value).retry_delay
                    retry_seconds = delay.ToTimedelta().total_seconds()
    return CallOutcome(
        responses=responses, code=error.code(), reason=reason, retry_seconds=retry_seconds
    )


def _response_kind(response: pb.StreamingAnnotateResponse) -> str:
    if response.HasField("frame_result"):
        return "final" if response.frame_result.is_final else "provisional"
    return response.WhichOneof("message") or "nothing"
