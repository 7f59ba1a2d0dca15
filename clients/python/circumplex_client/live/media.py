"""Media of a stream: its format, its chunks, and their protobuf messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from circumplex_client.v1 import annotation_pb2 as pb

SAMPLE_BYTES: Final = {"s16le": 2, "f32le": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAudioFormat:
    """Raw audio: interleaved samples of all channels."""

    encoding: Literal["s16le", "f32le"] = "s16le"
    rate_hz: int
    channels: int = 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * SAMPLE_BYTES[self.encoding]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInput:
    """A streamable container: fragmented MP4, WebM or Matroska, MPEG-TS and so on.

    video_stream, audio_stream: index among all streams of the file, as in ffprobe; None lets the
    service choose.
    """

    video_stream: int | None = None
    audio_stream: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameInput:
    """Single frames, and raw audio unless `audio` is None.

    width, height: pixels of every frame, for "rgb24" only.
    """

    encoding: Literal["jpeg", "rgb24", "face_crop"] = "jpeg"
    width: int = 0
    height: int = 0
    audio: RawAudioFormat | None = None


@dataclass(frozen=True, slots=True)
class ContainerChunk:
    """The next bytes of the container, split anywhere."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ImageFrame:
    """One frame; time: seconds, later than the previous frame's.

    data: a JPEG file; or height * width * 3 bytes of RGB; or an aligned face, 112 * 112 * 3 bytes
    of RGB, empty where there is no face.
    """

    time: float
    data: bytes


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Whole samples of all channels.

    time: seconds of the first sample; None: continues the previous chunk.
    """

    data: bytes
    time: float | None = None


MediaChunk = ContainerChunk | ImageFrame | AudioChunk


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStreamOptions:
    """Options of one stream.

    faces: "primary", the face visible longest, or "all".
    overload: policy when frames arrive faster than they are processed: "block", the sender
        waits; "drop_oldest", with single frames only; or "fail".
    finals_only: no provisional results.
    model: NAME, for its current version, or NAME@VERSION; None: the service's default.
    """

    media: ContainerInput | FrameInput = field(default_factory=ContainerInput)
    faces: Literal["primary", "all"] = "primary"
    overload: Literal["block", "drop_oldest", "fail"] = "block"
    finals_only: bool = False
    model: str | None = None

    def to_message(self, resume_token: str) -> pb.StreamingAnnotateRequest:
        """Build the first message of a call; the token is empty for a new stream."""
        config = pb.StreamConfig(
            faces=f"FACES_{self.faces.upper()}",
            overload_policy=f"OVERLOAD_POLICY_{self.overload.upper()}",
            final_results_only=self.finals_only,
            resume_token=resume_token,
            model=self.model,
        )
        if isinstance(self.media, ContainerInput):
            config.container.CopyFrom(
                pb.ContainerMedia(
                    video_stream=self.media.video_stream, audio_stream=self.media.audio_stream
                )
            )
        else:
            config.frames.CopyFrom(_build_frame_media(self.media))
        return pb.StreamingAnnotateRequest(config=config)


def split_into_messages(
    media_chunk: MediaChunk, media: ContainerInput | FrameInput, *, max_bytes: int
) -> Iterator[pb.StreamingAnnotateRequest]:
    """Build the messages of a chunk; container and audio data over `max_bytes` are split."""
    match media_chunk:
        case ContainerChunk():
            for start in range(0, len(media_chunk.data), max_bytes):
                chunk = pb.ContainerChunk(data=media_chunk.data[start : start + max_bytes])
                yield pb.StreamingAnnotateRequest(container=chunk)
        case ImageFrame():
            frame = pb.VideoFrame(time_seconds=media_chunk.time, data=media_chunk.data)
            yield pb.StreamingAnnotateRequest(frame=frame)
        case AudioChunk():
            assert isinstance(media, FrameInput)
            assert media.audio is not None
            step = max_bytes - max_bytes % media.audio.frame_bytes
            for start in range(0, len(media_chunk.data), step):
                chunk = pb.AudioChunk(
                    data=media_chunk.data[start : start + step],
                    time_seconds=media_chunk.time if start == 0 else None,
                )
                yield pb.StreamingAnnotateRequest(audio=chunk)


def _build_frame_media(media: FrameInput) -> pb.FrameMedia:
    audio_format = media.audio and pb.AudioFormat(
        encoding=f"SAMPLE_ENCODING_{media.audio.encoding.upper()}",
        sample_rate_hz=media.audio.rate_hz,
        channels=media.audio.channels,
    )
    return pb.FrameMedia(
        encoding=f"FRAME_ENCODING_{media.encoding.upper()}",
        width=media.width,
        height=media.height,
        audio=audio_format,
    )
