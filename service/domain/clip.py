"""What is known of a clip: its frames, its faces and the chunks they travel in."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from service.domain.array_types import Float32Array, Int64Array, UInt8Array
from service.domain.media import Anomalies, Flag, MediaInfo

MAX_FACES: Final = 8
"""Faces of one frame that are followed at most, whatever the settings say."""
EXTRACTION_STAGES: Final = ("decode", "face", "sound")
"""What is done to a frame before it reaches a backbone."""


class MissingReason(StrEnum):
    """Why a frame has no face of a track."""

    FACE_NOT_FOUND = "face_not_found"


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
class TrackedFace:
    """A face in one frame, and whose it is: a track keeps its number through the clip, from 1."""

    track: int
    box: FaceBox


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One decoded frame: its ordinal, its presentation time and its faces, one a track."""

    index: int
    time_seconds: float
    faces: tuple[TrackedFace, ...] = ()

    def find_face(self, track: int) -> FaceBox | None:
        """Where this track's face is; None: not found."""
        return next((face.box for face in self.faces if face.track == track), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive frames with what the backbones need of them.

    crops: (N, 3, 112, 112) uint8 RGB, one for each face, frame after frame.
    waveform: (S,) float32 in [-1, 1], mono 16 kHz, on a 10 ms grid, covering every patch.
    patch_starts: (T,) int64, where each frame's patch starts in `waveform`, in 10 ms hops.
    stage_seconds: busy time of each of the EXTRACTION_STAGES that made this chunk.
    """

    frames: tuple[Frame, ...]
    crops: UInt8Array
    waveform: Float32Array
    patch_starts: Int64Array
    stage_seconds: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOpened:
    """The first message of an extraction."""

    media: MediaInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipClosed:
    """The last message of an extraction that reached the end."""

    frames: int
    flags: tuple[Flag, ...] = ()
    anomalies: Anomalies = field(default_factory=Anomalies)


ExtractionEvent = ClipOpened | Chunk | ClipClosed
"""What an extraction yields: ClipOpened, then chunks, then ClipClosed."""
