"""Messages of the parent process: to its forkserver, and to the decode process of a stream.

The control socket of the forkserver, each message one packet with an encoded dataclass:

    parent ── ForkserverConfig, DecodeRequest, DecodeRequest, .. ──▶ forkserver
    parent ◀── ForkserverReady ── forkserver        (once)
    parent ◀── WorkerStarted, ExitStatus ── forkserver   (for each decode process, on its socket)

The input of a stream's decode process, piece by piece:

    kind u8 │ length u32 │ msgpack of the kind's dataclass

The decode process trusts its parent; the state of a snapshot, which came from another decode
process, is decoded by type there.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from service.domain.options import AnalysisOptions
from service.domain.stream import (
    ContainerStreamMedia,
    FrameStreamMedia,
    StreamAudio,
    StreamBytes,
    StreamFrame,
    StreamInput,
    StreamMedia,
)
from service.serialization import decode, encode

if TYPE_CHECKING:  # decode processes start without pydantic
    from service.settings import Settings

CLIP_HANDLES: Final = 2
"""Handles of its clip that a decode process gets: for the pictures and for the audio."""
_PREFIX: Final = struct.Struct("<BI")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkserverConfig:
    """Settings of a forkserver's face finder, and the process that it belongs to."""

    face_models_dir: str
    yunet_file: str | None
    max_faces: int
    min_face_pixels: float
    owner_pid: int

    @staticmethod
    def from_settings(settings: Settings) -> ForkserverConfig:
        """Make the config of this process's forkserver."""
        yunet = settings.yunet_file
        return ForkserverConfig(
            face_models_dir=str(settings.face_models_dir.absolute()),
            yunet_file=None if yunet is None else str(yunet.absolute()),
            max_faces=settings.max_faces,
            min_face_pixels=settings.min_face_pixels,
            owner_pid=os.getpid(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkserverReady:
    """A forkserver's only message about itself: everything is loaded, or why it cannot be.

    missing_layers: layers of the sandbox that this machine does not have, and why.
    error_code, error_detail: of the error that ended the forkserver; None: it is ready.
    """

    missing_layers: dict[str, str] = field(default_factory=dict[str, str])
    error_code: str | None = None
    error_detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStarted:
    """A decode process was forked."""

    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """Exit of a decode process.

    status: as in subprocess: a signal's number is negative; cpu_seconds: of all its threads.
    """

    status: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSource:
    """A stream as the source of the media. frames: their format; None: a container."""

    frames: FrameStreamMedia | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRequest:
    """Options and limits of one extraction. stream: None: the media are a clip."""

    video_stream: int | None
    audio_stream: int | None
    max_seconds: float
    max_frames: int
    max_pixels: int
    threads: int
    memory_bytes: int
    cpu_seconds: int
    min_bytes_per_frame: float
    chunk_frames: int
    stream: StreamSource | None = None

    @staticmethod
    def from_settings(
        options: AnalysisOptions,
        settings: Settings,
        memory_bytes: int,
        stream: StreamSource | None = None,
    ) -> DecodeRequest:
        """Make the request of a clip, or of a stream, with this grant of memory."""
        return DecodeRequest(
            video_stream=options.video_stream,
            audio_stream=options.audio_stream,
            max_seconds=settings.max_clip_seconds,
            max_frames=settings.max_clip_frames,
            max_pixels=settings.max_frame_pixels,
            threads=min(settings.decode_threads, os.cpu_count() or 1),
            memory_bytes=memory_bytes,
            cpu_seconds=settings.decode_cpu_seconds,
            min_bytes_per_frame=settings.min_bytes_per_frame,
            chunk_frames=settings.chunk_frames,
            stream=stream,
        )

    @staticmethod
    def from_stream_media(
        media: StreamMedia, settings: Settings, memory_bytes: int
    ) -> DecodeRequest:
        """Make the request of a stream of these media."""
        if isinstance(media, ContainerStreamMedia):
            options = AnalysisOptions(
                video_stream=media.video_stream, audio_stream=media.audio_stream
            )
            source = StreamSource(frames=None)
            return DecodeRequest.from_settings(options, settings, memory_bytes, source)
        source = StreamSource(frames=media)
        return DecodeRequest.from_settings(AnalysisOptions(), settings, memory_bytes, source)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeState:
    """State of a Snapshot of the same media; the first message where an extraction resumes."""

    state: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EndOfInput:
    """The last message."""


InputMessage = StreamInput | ResumeState
_TYPES: Final[tuple[type[InputMessage | EndOfInput], ...]] = (
    *(StreamBytes, StreamFrame, StreamAudio, ResumeState, EndOfInput),
)
"""Types of messages; the kind of a message is the index of its type."""


def encode_input(message: InputMessage | EndOfInput) -> Sequence[bytes]:
    """Encode a message as buffers that are written one after the other."""
    content = encode(message)
    return [_PREFIX.pack(_TYPES.index(type(message)), len(content)), content]


def read_input(pipe: BinaryIO) -> Iterator[InputMessage]:
    """Read messages up to EndOfInput.

    Raises: EOFError: the parent has ended.
    """
    while True:
        kind, length = cast("tuple[int, int]", _PREFIX.unpack(_read(pipe, _PREFIX.size)))
        message = decode(_read(pipe, length), _TYPES[kind])
        if isinstance(message, EndOfInput):
            return
        yield message


def _read(pipe: BinaryIO, size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError("the media input ended before its last message")
    return data
