"""What is known of a clip: its media facts, its frames, its faces and the chunks they travel in."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from service.domain.arrays import Bytes, Floats, Integers

EXTRACTION_STAGES: Final = ("decode", "face", "sound")
"""What is done to a frame before it reaches a backbone."""


class Missing(StrEnum):
    """Why a frame has no face of its own."""

    FACE_NOT_FOUND = "face_not_found"


class Flag(StrEnum):
    """What a reader of the result should know about the clip."""

    NO_AUDIO = "no_audio"
    """No sound: the voice is taken as silence."""
    NO_FACE = "no_face"
    """Not one face: valence and arousal are null throughout."""
    DAMAGED = "damaged"
    """Some packets could not be decoded; the rows are the frames that could."""
    TRUNCATED = "truncated"
    """The file ends before its declared duration."""
    AUDIO_UNREADABLE = "audio_unreadable"
    """A sound stream is there and could not be decoded; taken as silence from there on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceBox:
    """A face in pixels of the displayed frame (rotation and pixel aspect applied)."""

    left: float
    top: float
    width: float
    height: float
    score: float
    """The detector's confidence in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One decoded frame: its ordinal, its presentation time and its face."""

    index: int
    time_seconds: float
    face: FaceBox | None = None
    missing: Missing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """What the container says of the clip, sizes as displayed."""

    container: str
    video_streams: int
    """Moving pictures in the file, cover pictures not counted; one of them is analysed."""
    video_stream_index: int
    """The analysed one's place among all streams of the file, as ffprobe counts them."""
    video_codec: str
    width: int
    height: int
    rotation_degrees: int
    average_rate_hz: float | None
    duration_seconds: float | None
    frames_estimate: int | None
    """Frames the container promises; for progress only, never for the rows."""
    audio_codec: str | None
    audio_rate_hz: int | None
    audio_channels: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive frames with what the backbones need of them.

    crops: (N, 3, 112, 112) uint8 RGB, one for each frame that has a face, in order.
    waveform: (S,) float32 in [-1, 1], mono 16 kHz, on a 10 ms grid, covering every patch.
    patch_starts: (T,) int64, where each frame's patch starts in `waveform`, in 10 ms hops.
    stage_seconds: busy time of each of the EXTRACTION_STAGES that made this chunk.
    """

    frames: tuple[Frame, ...]
    crops: Bytes
    waveform: Floats
    patch_starts: Integers
    stage_seconds: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOpened:
    """The first message of an extraction."""

    media: MediaFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipClosed:
    """The last message of an extraction that reached the end."""

    frames: int
    flags: tuple[Flag, ...] = ()


Extract = ClipOpened | Chunk | ClipClosed
"""What an extraction yields: ClipOpened, then chunks, then ClipClosed."""
