"""Stream load: sends a recording to a gateway as several cameras, and measures the latency.

Requests are serialised before the run and results are read by three fields, so that the load takes
as little as it can from the cores that the service runs on.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc.aio
import numpy as np
from circumplex.v1 import annotation_pb2 as wire

from bench.camera_recording import RATE_HZ, CameraRecording
from service.domain.audio_grid import SAMPLE_RATE_HZ

_CHANNEL_OPTIONS: Final = (("grpc.enable_http_proxy", 0),)
"""The gateway is on this machine: a proxy of the environment is not meant for it."""
_METHOD: Final = "/circumplex.v1.AnnotationService/StreamingAnnotate"
GROWTH_SECONDS: Final = 1 / RATE_HZ
"""Growth of the median latency within a run up to which a stream is kept up with: one frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatistics:
    """Statistics of concurrent streams; p50 to max are of the worst stream.

    Of the gateway: from a frame's last byte received to its provisional result sent. client_p99_ms:
    of the worst stream too, from a frame handed to gRPC to its result read. growth_ms: of the
    median, from the first third of a run to the last, largest of all streams.
    """

    fps_sent: float
    fps_answered: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    client_p50_ms: float
    client_p99_ms: float
    client_max_ms: float
    growth_ms: float
    dropped: int

    @property
    def is_sustained(self) -> bool:
        """True if no frame was left out and results did not come later and later."""
        return self.dropped == 0 and self.growth_ms <= 1e3 * GROWTH_SECONDS


@dataclass(slots=True, kw_only=True)
class _StreamRecord:
    """Times of one stream. sent_at: of each frame; latencies: of those answered, in seconds."""

    sent_at: list[float] = field(default_factory=list[float])
    latencies: list[float] = field(default_factory=list[float])
    summary: wire.StreamSummary = field(default_factory=wire.StreamSummary)

    @property
    def growth_seconds(self) -> float:
        """Growth of the median latency from the first third to the last."""
        third = len(self.latencies) // 3
        if not third:
            return 0.0
        return float(np.median(self.latencies[-third:]) - np.median(self.latencies[:third]))


async def run_streams(
    address: str, recording: CameraRecording, *, streams: int, seconds: float
) -> StreamStatistics:
    """Run concurrent streams at the rate of a camera, and wait for their last results."""
    requests = _serialize_requests(recording, seconds)
    gc.freeze()
    async with grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS) as channel:
        # cameras are not synchronised
        starts = [number / streams / RATE_HZ for number in range(streams)]
        began = time.monotonic()
        records = await asyncio.gather(*(_run_stream(channel, requests, each) for each in starts))
        wall = max(each.sent_at[-1] for each in records) - began
    latencies = [each.summary.latency for each in records]
    own = [np.array(each.latencies) for each in records]
    return StreamStatistics(
        fps_sent=sum(len(each.sent_at) for each in records) / wall,
        fps_answered=sum(map(len, own)) / wall,
        p50_ms=1e3 * max(each.p50_seconds for each in latencies),
        p95_ms=1e3 * max(each.p95_seconds for each in latencies),
        p99_ms=1e3 * max(each.p99_seconds for each in latencies),
        client_p50_ms=1e3 * max(float(np.median(each)) for each in own),
        client_p99_ms=1e3 * max(float(np.percentile(each, 99)) for each in own),
        client_max_ms=1e3 * max(float(each.max()) for each in own),
        growth_ms=1e3 * max(each.growth_seconds for each in records),
        dropped=sum(each.summary.frames_dropped for each in records),
    )


async def _run_stream(
    channel: grpc.aio.Channel, requests: _Requests, delay_seconds: float
) -> _StreamRecord:
    stream = _StreamRecord()
    await asyncio.sleep(delay_seconds)
    open_call: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]] = _open_method(channel)
    async for reply in open_call(_send(requests, stream)):
        now = time.monotonic()
        response = wire.StreamingAnnotateResponse.FromString(reply)
        match response.WhichOneof("message"):
            case "frame_result" if not response.frame_result.is_final:
                stream.latencies.append(now - stream.sent_at[response.frame_result.index])
            case "summary":
                stream.summary = response.summary
            case _:
                pass
    return stream


def _open_method(channel: Any) -> Any:
    """Return the method without a serialiser of its own: requests and responses are bytes."""
    return channel.stream_stream(_METHOD)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Requests:
    """Serialised requests: the config, and those of each frame's time."""

    config: bytes
    by_frame: list[tuple[bytes, ...]]


def _serialize_requests(recording: CameraRecording, seconds: float) -> _Requests:
    audio_format = wire.AudioFormat(
        encoding=wire.SAMPLE_ENCODING_S16LE, sample_rate_hz=SAMPLE_RATE_HZ, channels=1
    )
    media = wire.FrameMedia(encoding=wire.FRAME_ENCODING_JPEG, audio=audio_format)
    config = wire.StreamConfig(frames=media, overload_policy=wire.OVERLOAD_POLICY_DROP_OLDEST)
    by_frame: list[tuple[bytes, ...]] = []
    for index in range(round(seconds * RATE_HZ)):
        frame = wire.VideoFrame(time_seconds=index / RATE_HZ, data=recording.frame_at(index))
        audio = wire.AudioChunk(data=recording.audio_at(index))
        requests = (
            wire.StreamingAnnotateRequest(frame=frame),
            wire.StreamingAnnotateRequest(audio=audio),
        )
        by_frame.append(tuple(each.SerializeToString() for each in requests))
    return _Requests(
        config=wire.StreamingAnnotateRequest(config=config).SerializeToString(), by_frame=by_frame
    )


async def _send(requests: _Requests, stream: _StreamRecord) -> AsyncIterator[bytes]:
    yield requests.config
    began = time.monotonic()
    for index, (frame, audio) in enumerate(requests.by_frame):
        await asyncio.sleep(max(0.0, began + index / RATE_HZ - time.monotonic()))
        stream.sent_at.append(time.monotonic())
        yield frame
        yield audio
