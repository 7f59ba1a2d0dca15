"""Stream load: sends a recording to a gateway as several cameras, and measures the latency."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, cast

import grpc.aio
import numpy as np
from circumplex.v1 import annotation_pb2 as wire
from circumplex.v1.annotation_pb2_grpc import AnnotationServiceStub

from bench.camera_recording import RATE_HZ, CameraRecording
from service.domain.audio_grid import SAMPLE_RATE_HZ

_CHANNEL_OPTIONS: Final = (("grpc.enable_http_proxy", 0),)
"""The gateway is on this machine: a proxy of the environment is not meant for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatistics:
    """Statistics of concurrent streams; p50, p95 and p99 are of the worst stream."""

    fps_sent: float
    fps_answered: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    dropped: int
    client_p99_ms: float
    """From a frame handed to gRPC to its result read, over all streams."""


@dataclass(slots=True, kw_only=True)
class _StreamRecord:
    sent_at: dict[int, float]
    latencies_seconds: list[float]
    summary: wire.StreamSummary


async def run_streams(
    address: str, recording: CameraRecording, *, streams: int, seconds: float
) -> StreamStatistics:
    """Run concurrent streams at the rate of a camera, and wait for their last results."""
    async with grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS) as channel:
        stub = AnnotationServiceStub(channel)
        # cameras are not synchronised
        starts = [number / streams / RATE_HZ for number in range(streams)]
        began = time.monotonic()
        records = await asyncio.gather(
            *(_run_stream(stub, recording, seconds, start) for start in starts)
        )
        wall = max(max(each.sent_at.values()) for each in records) - began
    latencies = [each.summary.latency for each in records]
    return StreamStatistics(
        fps_sent=sum(len(each.sent_at) for each in records) / wall,
        fps_answered=sum(len(each.latencies_seconds) for each in records) / wall,
        p50_ms=1e3 * max(each.p50_seconds for each in latencies),
        p95_ms=1e3 * max(each.p95_seconds for each in latencies),
        p99_ms=1e3 * max(each.p99_seconds for each in latencies),
        dropped=sum(each.summary.frames_dropped for each in records),
        client_p99_ms=1e3
        * float(np.percentile([t for each in records for t in each.latencies_seconds], 99)),
    )


async def _run_stream(
    stub: AnnotationServiceStub, recording: CameraRecording, seconds: float, delay_seconds: float
) -> _StreamRecord:
    stream = _StreamRecord(sent_at={}, latencies_seconds=[], summary=wire.StreamSummary())
    await asyncio.sleep(delay_seconds)
    requests = _generate_requests(recording, seconds, stream)
    call = stub.StreamingAnnotate(requests)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # generated stubs have no types
    responses = cast(AsyncIterator[wire.StreamingAnnotateResponse], call)
    async for reply in responses:
        now = time.monotonic()
        match reply.WhichOneof("message"):
            case "frame_result" if not reply.frame_result.is_final:
                stream.latencies_seconds.append(now - stream.sent_at[reply.frame_result.index])
            case "summary":
                stream.summary = reply.summary
            case _:
                pass
    return stream


async def _generate_requests(
    recording: CameraRecording, seconds: float, record: _StreamRecord
) -> AsyncIterator[wire.StreamingAnnotateRequest]:
    audio_format = wire.AudioFormat(
        encoding=wire.SAMPLE_ENCODING_S16LE, sample_rate_hz=SAMPLE_RATE_HZ, channels=1
    )
    media = wire.FrameMedia(encoding=wire.FRAME_ENCODING_JPEG, audio=audio_format)
    config = wire.StreamConfig(frames=media, overload_policy=wire.OVERLOAD_POLICY_DROP_OLDEST)
    yield wire.StreamingAnnotateRequest(config=config)
    began = time.monotonic()
    for index in range(round(seconds * RATE_HZ)):
        await asyncio.sleep(max(0.0, began + index / RATE_HZ - time.monotonic()))
        record.sent_at[index] = time.monotonic()
        frame = wire.VideoFrame(time_seconds=index / RATE_HZ, data=recording.frame_at(index))
        yield wire.StreamingAnnotateRequest(frame=frame)
        audio = wire.AudioChunk(data=recording.audio_at(index))
        yield wire.StreamingAnnotateRequest(audio=audio)
