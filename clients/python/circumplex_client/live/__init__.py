"""Streams: `pip install circumplex-client[live]`."""

from circumplex_client.live.client import LiveClient, Tls
from circumplex_client.live.media import (
    ContainerBytes,
    ContainerMedia,
    Frame,
    FrameMedia,
    LiveChoices,
    Piece,
    Sound,
    SoundFormat,
)
from circumplex_client.live.results import (
    Accepted,
    Box,
    Dropped,
    Estimate,
    FrameResult,
    Latency,
    Limits,
    LiveResult,
    Summary,
    TrackResult,
)

__all__ = [
    "Accepted",
    "Box",
    "ContainerBytes",
    "ContainerMedia",
    "Dropped",
    "Estimate",
    "Frame",
    "FrameMedia",
    "FrameResult",
    "Latency",
    "Limits",
    "LiveChoices",
    "LiveClient",
    "LiveResult",
    "Piece",
    "Sound",
    "SoundFormat",
    "Summary",
    "Tls",
    "TrackResult",
]
