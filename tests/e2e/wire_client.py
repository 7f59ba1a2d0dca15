"""A client of streams that knows the wire contract and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from circumplex.v1 import annotation_pb2 as pb
from circumplex.v1 import annotation_pb2_grpc as services
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

Request = pb.StreamingAnnotateRequest
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOutcome:
    """How a call went. code: OK where it was not refused. reason: of ErrorInfo, "" without it."""

    responses: list[pb.StreamingAnnotateResponse]
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    retry_seconds: float | None = None

    @property
    def response_counts(self) -> Counter[str]:
        """How often each kind of response came; `final` and `provisional` are results."""
        return Counter(map(_response_kind, self.responses))

    @property
    def summary(self) -> pb.StreamSummary:
        """The last response, which has to be one."""
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
    """Send it all, half-close, and hear how it ends; fails if it does not."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:
        return await loop.run_in_executor(
            thread, _run_blocking, target, _paced(requests, pause_seconds), metadata
        )


async def call_until_admitted(target: str, requests: list[Request]) -> CallOutcome:
    """As often as it takes until the gateway is not full."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            heard = await run_call(target, requests)
            if heard.reason != "STREAMS_FULL":
                return heard
            await asyncio.sleep(heard.retry_seconds or 1.0)


def make_config(**fields: object) -> Request:
    """The first request."""
    return Request(config=pb.StreamConfig(**fields))


def make_frames_config(
    encoding: pb.FrameEncoding = pb.FRAME_ENCODING_JPEG, **fields: object
) -> Request:
    """The first request of a stream of single frames."""
    return make_config(frames=pb.FrameMedia(encoding=encoding, **fields))


def make_container_config() -> Request:
    """The first request of a stream that is a file."""
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
    """Not by grpc.aio, which may put a status of its own in the service's place."""
    responses: list[pb.StreamingAnnotateResponse] = []
    with grpc.insecure_channel(target, [("grpc.max_send_message_length", -1)]) as channel:
        stream = services.AnnotationServiceStub(channel).StreamingAnnotate(
            requests, metadata=metadata, timeout=TIMEOUT_SECONDS
        )
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
