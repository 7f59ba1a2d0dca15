"""Live streams over gRPC: `pip install circumplex-client[live]`."""

from circumplex_client.live.client import LiveClient, Tls
from circumplex_client.live.media import (
    AudioChunk,
    ContainerChunk,
    ContainerInput,
    FrameInput,
    ImageFrame,
    LiveStreamOptions,
    MediaChunk,
    RawAudioFormat,
)
from circumplex_client.live.results import (
    Box,
    FaceEstimate,
    FrameResult,
    FramesDropped,
    Latency,
    LiveResult,
    StreamAccepted,
    StreamLimits,
    StreamSummary,
    TrackResult,
)

__all__ = [
    "AudioChunk",
    "Box",
    "ContainerChunk",
    "ContainerInput",
    "FaceEstimate",
    "FrameInput",
    "FrameResult",
    "FramesDropped",
    "ImageFrame",
    "Latency",
    "LiveClient",
    "LiveResult",
    "LiveStreamOptions",
    "MediaChunk",
    "RawAudioFormat",
    "StreamAccepted",
    "StreamLimits",
    "StreamSummary",
    "Tls",
    "TrackResult",
]
