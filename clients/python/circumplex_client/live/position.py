"""Position in a stream: how much of each kind of media has been sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from circumplex_client.errors import InvalidMedia
from circumplex_client.live.media import (
    AudioChunk,
    ContainerChunk,
    ContainerInput,
    FrameInput,
    ImageFrame,
    MediaChunk,
)
from circumplex_client.v1 import annotation_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPosition:
    """Amount of each kind of media since the start of the stream."""

    container_bytes: int = 0
    frames: int = 0
    audio_samples: int = 0

    @classmethod
    def from_proto(cls, message: pb.MediaPosition) -> Self:
        """Convert from protobuf."""
        return cls(
            container_bytes=message.container_bytes,
            frames=message.frames,
            audio_samples=message.audio_samples,
        )

    def count_of(self, chunk: MediaChunk) -> int:
        """Return the amount of the chunk's kind of media."""
        match chunk:
            case ContainerChunk():
                return self.container_bytes
            case ImageFrame():
                return self.frames
            case AudioChunk():
                return self.audio_samples

    def has_reached(self, other: StreamPosition) -> bool:
        """Return whether this position is at or after the other in every kind of media."""
        return (
            self.container_bytes >= other.container_bytes
            and self.frames >= other.frames
            and self.audio_samples >= other.audio_samples
        )

    def advance(self, chunk: MediaChunk, media: ContainerInput | FrameInput) -> StreamPosition:
        """Return the position after the chunk; raises InvalidMedia if it does not fit."""
        container_bytes, frames, samples = self.container_bytes, self.frames, self.audio_samples
        match chunk, media:
            case ContainerChunk(), ContainerInput():
                container_bytes += len(chunk.data)
            case ImageFrame(), FrameInput():
                frames += 1
            case AudioChunk(), FrameInput(audio=kind) if kind is not None:
                if len(chunk.data) % kind.frame_bytes:
                    raise InvalidMedia(
                        f"{len(chunk.data)} bytes are not a whole number of samples of {kind}"
                    )
                samples += len(chunk.data) // kind.frame_bytes
            case _:
                raise InvalidMedia(f"{type(chunk).__name__} does not fit {media}")
        return StreamPosition(container_bytes=container_bytes, frames=frames, audio_samples=samples)


def drop_start(
    chunk: MediaChunk, skipped_units: int, media: ContainerInput | FrameInput
) -> MediaChunk | None:
    """Remove a chunk's first bytes, samples or frames; returns None if nothing is left."""
    match chunk:
        case ContainerChunk():
            return (
                ContainerChunk(chunk.data[skipped_units:])
                if skipped_units < len(chunk.data)
                else None
            )
        case ImageFrame():
            return None if skipped_units else chunk
        case AudioChunk():
            assert isinstance(media, FrameInput)
            assert media.audio is not None
            data = chunk.data[skipped_units * media.audio.frame_bytes :]
            start_time = (
                None if chunk.time is None else chunk.time + skipped_units / media.audio.rate_hz
            )
            return AudioChunk(data, start_time) if data else None
