"""What is sent: which kind of stream, and its pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from circumplex_client.v1 import annotation_pb2 as pb

SAMPLE_BYTES: Final = {"s16le": 2, "f32le": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAudioFormat:
    """Raw sound: interleaved samples of all channels."""

    encoding: Literal["s16le", "f32le"] = "s16le"
    rate_hz: int
    channels: int = 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * SAMPLE_BYTES[self.encoding]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInput:
    """A file as it is being written: fragmented MP4, WebM or Matroska, MPEG-TS and so on.

    video_stream, audio_stream: places among all streams of the file, as ffprobe counts them; the
    service chooses where they are None.
    """

    video_stream: int | None = None
    audio_stream: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameInput:
    """Single pictures, and raw sound unless `sound` is None.

    width, height: pixels of every frame, of "rgb24" only.
    """

    encoding: Literal["jpeg", "rgb24", "face_crop"] = "jpeg"
    width: int = 0
    height: int = 0
    audio: RawAudioFormat | None = None


@dataclass(frozen=True, slots=True)
class ContainerChunk:
    """The next bytes of the container, cut anywhere."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ImageFrame:
    """One picture at a time in seconds, later than the one before.

    data: a JPEG file; or height * width * 3 bytes of RGB; or an aligned face of 112x112 in the
    same order, nothing where there is no face.
    """

    time: float
    data: bytes


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Whole samples of all channels, heard from a time in seconds on; None: from where the sound
    before has ended."""

    data: bytes
    time: float | None = None


MediaChunk = ContainerChunk | ImageFrame | AudioChunk


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStreamOptions:
    """What may be chosen for a stream.

    faces: "primary", the face that is there most, or "all".
    overload: what happens when frames come faster than they are dealt with: "block", the sender
        waits; "drop_oldest", of single frames only; or "fail".
    finals_only: leave provisional results out.
    """

    media: ContainerInput | FrameInput = field(default_factory=ContainerInput)
    faces: Literal["primary", "all"] = "primary"
    overload: Literal["block", "drop_oldest", "fail"] = "block"
    finals_only: bool = False

    def to_message(self, resume_token: str) -> pb.StreamingAnnotateRequest:
        """The first message of a call; the token is empty for a new stream."""
        config = pb.StreamConfig(
            faces=f"FACES_{self.faces.upper()}",
            overload_policy=f"OVERLOAD_POLICY_{self.overload.upper()}",
            final_results_only=self.finals_only,
            resume_token=resume_token,
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
    """The messages that bring a piece; what may be cut is, where it is larger than a message."""
    match media_chunk:
        case ContainerChunk():
            for start in range(0, len(media_chunk.data), max_bytes):
                chunk = pb.ContainerChunk(data=media_chunk.data[start : start + max_bytes])
                yield pb.StreamingAnnotateRequest(container=chunk)
        case ImageFrame():
            frame = pb.VideoFrame(time_seconds=media_chunk.time, data=media_chunk.data)
            yield pb.StreamingAnnotateRequest(frame=frame)
        case AudioChunk():
            assert isinstance(media, FrameInput) and media.audio is not None  # noqa: PT018
            step = max_bytes - max_bytes % media.audio.frame_bytes
            for start in range(0, len(media_chunk.data), step):
                chunk = pb.AudioChunk(
                    data=media_chunk.data[start : start + step],
                    time_seconds=media_chunk.time if start == 0 else None,
                )
                yield pb.StreamingAnnotateRequest(audio=chunk)


def _build_frame_media(media: FrameInput) -> pb.FrameMedia:
    sound = media.audio and pb.AudioFormat(
        encoding=f"SAMPLE_ENCODING_{media.audio.encoding.upper()}",
        sample_rate_hz=media.audio.rate_hz,
        channels=media.audio.channels,
    )
    return pb.FrameMedia(
        encoding=f"FRAME_ENCODING_{media.encoding.upper()}",
        width=media.width,
        height=media.height,
        audio=sound,
    )
