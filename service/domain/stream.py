"""Media of a stream, and the events of their extraction."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from service.domain.array_types import Float32Array, Int64Array, UInt8Array
from service.domain.clip import ClipClosed, ClipOpened, Frame

MAX_SNAPSHOT_BYTES: Final = 512 * 2**10
"""Maximum size of the state of one Snapshot."""


class FrameEncoding(StrEnum):
    """Encoding of a single frame."""

    JPEG = "jpeg"
    RGB24 = "rgb24"
    """(H, W, 3) bytes, row after row."""
    FACE_CROP = "face_crop"
    """(112, 112, 3) bytes of an aligned face, row after row; empty: no face."""


class SampleEncoding(StrEnum):
    """Encoding of a raw audio sample; little-endian."""

    S16 = "s16"
    F32 = "f32"


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioFormat:
    """Format of raw audio: interleaved samples of all channels."""

    encoding: SampleEncoding
    rate_hz: int
    channels: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * (2 if self.encoding is SampleEncoding.S16 else 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStreamMedia:
    """A container file sent while it is written. Its streams are chosen as in AnalysisOptions."""

    video_stream: int | None = None
    audio_stream: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameStreamMedia:
    """Single frames and raw audio. width, height: of RGB24 only, pixels."""

    encoding: FrameEncoding
    width: int = 0
    height: int = 0
    audio: AudioFormat | None = None


StreamMedia = ContainerStreamMedia | FrameStreamMedia


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBytes:
    """The next bytes of a container. arrived_at: when they were received, monotonic seconds."""

    data: bytes
    arrived_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFrame:
    """One frame and its presentation time. arrived_at: as in StreamBytes."""

    time_seconds: float
    data: bytes
    arrived_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAudio:
    """Raw audio. time_seconds: of its first sample; None: it follows the audio before."""

    data: bytes
    time_seconds: float | None = None


StreamInput = StreamBytes | StreamFrame | StreamAudio


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesExtracted:
    """Consecutive frames with their faces; their audio may follow a second later.

    frames: numbered without a gap. crops: (N, 3, 112, 112) uint8 RGB, one for each face, frame
    after frame. arrived_at: (T,) monotonic seconds at which the last byte that each frame needed
    was received. stage_seconds: busy time of `decode` and `face`.
    """

    frames: tuple[Frame, ...]
    crops: UInt8Array
    arrived_at: tuple[float, ...]
    stage_seconds: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioExtracted:
    """The audio of the next frames that had none yet; silence where there is none.

    waveform, patch_starts: as in Chunk. stage_seconds: busy time of `sound`.
    """

    waveform: Float32Array
    patch_starts: Int64Array
    stage_seconds: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameUnreadable:
    """The next frame sent could not be decoded; it gets no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """State from which another extraction of single frames continues without a difference.

    It covers the first `frames` numbered frames, the unreadable ones before them, and exactly the
    audio sent before the last of them. Audio of these frames that was not extracted by then is
    extracted by the continuing one.

    samples: of each channel. state: at most MAX_SNAPSHOT_BYTES.
    """

    frames: int
    samples: int
    state: bytes


StreamExtractionEvent = (
    ClipOpened | FramesExtracted | AudioExtracted | FrameUnreadable | Snapshot | ClipClosed
)
"""Events of a stream's extraction: ClipOpened for a container; then FramesExtracted and
FrameUnreadable in frame order, each frame's AudioExtracted later; at last ClipClosed. For single
frames there is a Snapshot every `chunk_frames`, unless audio sent long before its frames makes it
too large."""
