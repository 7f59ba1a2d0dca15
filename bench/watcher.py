"""Streams a reel to a gateway, as so many cameras at a time would, and watches the results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc.aio
import numpy as np
from circumplex.v1 import annotation_pb2 as wire
from circumplex.v1.annotation_pb2_grpc import AnnotationServiceStub

from bench.camera import RATE_HZ, Reel
from service.domain.time import SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What became of streams that ran together. p99_ms: of the worst stream, p50, p95 as well."""

    fps_sent: float
    fps_answered: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    dropped: int
    client_p99_ms: float
    """From a frame given to gRPC to its result read, of all streams together."""


@dataclass(slots=True, kw_only=True)
class _Stream:
    sent_at: dict[int, float]
    took: list[float]
    summary: wire.StreamSummary


async def watch(address: str, reel: Reel, *, streams: int, seconds: float) -> Watched:
    """Send so many streams at once, at the pace of a camera, and wait for their last results."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = AnnotationServiceStub(channel)
        # cameras do not click together
        starts = [number / streams / RATE_HZ for number in range(streams)]
        began = time.monotonic()
        done = await asyncio.gather(*(_stream(stub, reel, seconds, start) for start in starts))
        wall = max(max(each.sent_at.values()) for each in done) - began
    latencies = [each.summary.latency for each in done]
    return Watched(
        fps_sent=sum(len(each.sent_at) for each in done) / wall,
        fps_answered=sum(len(each.took) for each in done) / wall,
        p50_ms=1e3 * max(each.p50_seconds for each in latencies),
        p95_ms=1e3 * max(each.p95_seconds for each in latencies),
        p99_ms=1e3 * max(each.p99_seconds for each in latencies),
        dropped=sum(each.summary.frames_dropped for each in done),
        client_p99_ms=1e3 * float(np.percentile([t for each in done for t in each.took], 99)),
    )


async def _stream(stub: AnnotationServiceStub, reel: Reel, seconds: float, start: float) -> _Stream:
    stream = _Stream(sent_at={}, took=[], summary=wire.StreamSummary())
    await asyncio.sleep(start)
    async for reply in stub.StreamingAnnotate(_film(reel, seconds, stream)):
        now = time.monotonic()
        match reply.WhichOneof("message"):
            case "frame_result" if not reply.frame_result.is_final:
                stream.took.append(now - stream.sent_at[reply.frame_result.index])
            case "summary":
                stream.summary = reply.summary
            case _:
                pass
    return stream


async def _film(
    reel: Reel, seconds: float, stream: _Stream
) -> AsyncIterator[wire.StreamingAnnotateRequest]:
    sound = wire.AudioFormat(
        encoding=wire.SAMPLE_ENCODING_S16LE, sample_rate_hz=SAMPLE_RATE_HZ, channels=1
    )
    media = wire.FrameMedia(encoding=wire.FRAME_ENCODING_JPEG, audio=sound)
    config = wire.StreamConfig(frames=media, overload_policy=wire.OVERLOAD_POLICY_DROP_OLDEST)
    yield wire.StreamingAnnotateRequest(config=config)
    began = time.monotonic()
    for index in range(round(seconds * RATE_HZ)):
        await asyncio.sleep(max(0.0, began + index / RATE_HZ - time.monotonic()))
        stream.sent_at[index] = time.monotonic()
        frame = wire.VideoFrame(time_seconds=index / RATE_HZ, data=reel.picture(index))
        yield wire.StreamingAnnotateRequest(frame=frame)
        audio = wire.AudioChunk(data=reel.sound_of(index))
        yield wire.StreamingAnnotateRequest(audio=audio)
