"""What is known of a stream: the media that it brings, and what becomes of them piece by piece."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from service.domain.array_types import Float32Array, Int64Array, UInt8Array
from service.domain.clip import ClipClosed, ClipOpened, Frame

MAX_SNAPSHOT_BYTES: Final = 512 * 2**10
"""Of one Snapshot."""


class FrameEncoding(StrEnum):
    """What a frame that comes by itself is."""

    JPEG = "jpeg"
    RGB24 = "rgb24"
    """(H, W, 3) bytes, row after row."""
    FACE_CROP = "face_crop"
    """(112, 112, 3) bytes of an aligned face, row after row; or nothing: no face."""


class SampleEncoding(StrEnum):
    """What a sample of raw sound is; little-endian."""

    S16 = "s16"
    F32 = "f32"


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioFormat:
    """Interleaved samples of all channels."""

    encoding: SampleEncoding
    rate_hz: int
    channels: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * (2 if self.encoding is SampleEncoding.S16 else 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStreamMedia:
    """A stream that is a file in the making. The streams in it as in Choices."""

    video_stream: int | None = None
    audio_stream: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameStreamMedia:
    """A stream of single frames and raw sound. width, height: of RGB24 only, pixels."""

    encoding: FrameEncoding
    width: int = 0
    height: int = 0
    sound: AudioFormat | None = None


StreamMedia = ContainerStreamMedia | FrameStreamMedia


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBytes:
    """The next bytes of a container. arrived_at: when the last came, monotonic seconds."""

    data: bytes
    arrived_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFrame:
    """One frame and its presentation time. arrived_at: as in ContainerBytes."""

    time_seconds: float
    data: bytes
    arrived_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAudio:
    """Sound that begins at a time, or right after what came before it."""

    data: bytes
    time_seconds: float | None = None


StreamInput = StreamBytes | StreamFrame | StreamAudio


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesExtracted:
    """Consecutive frames that have been looked at; their sound may come a second later.

    frames: numbered without a gap. crops: (N, 3, 112, 112) uint8 RGB, one for each face, frame
    after frame. arrived_at: (T) monotonic seconds at which the last byte came that each frame
    took. stage_seconds: busy time of `decode` and `face`.
    """

    frames: tuple[Frame, ...]
    crops: UInt8Array
    arrived_at: tuple[float, ...]
    stage_seconds: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioExtracted:
    """The sound of the next frames that had none yet; silence where there is none.

    waveform, patch_starts: as in Chunk. stage_seconds: busy time of `sound`.
    """

    waveform: Float32Array
    patch_starts: Int64Array
    stage_seconds: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameUnreadable:
    """The next frame that was sent is no picture: it has no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What another extraction of single frames goes on from, as if there had been one only.

    It holds for the moment when so many frames were seen, with the Unreadable ones told before it,
    and of the sound exactly what was sent before the last of them. What was Seen and not Heard by
    then is Heard by the one that goes on.

    frames: numbered ones. samples: of each channel. state: at most MAX_STATE_BYTES.
    """

    frames: int
    samples: int
    state: bytes


StreamExtractionEvent = (
    ClipOpened | FramesExtracted | AudioExtracted | FrameUnreadable | Snapshot | ClipClosed
)
"""What becomes of a stream's media: ClipOpened for a container; then Seen and Unreadable for the
frames in order, and Heard after them; at last ClipClosed, when all that was seen was heard.
Single frames are followed by a Snapshot every `chunk_frames`, unless sound that came long before
its frames makes one too large."""
