"""How far a stream is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from circumplex_client.errors import MediaUnfit
from circumplex_client.live.media import (
    ContainerBytes,
    ContainerMedia,
    Frame,
    FrameMedia,
    Piece,
    Sound,
)
from circumplex_client.v1 import annotation_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How much of each kind of media has been sent since the stream began."""

    container_bytes: int = 0
    frames: int = 0
    audio_samples: int = 0

    @classmethod
    def read(cls, message: pb.MediaPosition) -> Self:
        """From the wire."""
        return cls(
            container_bytes=message.container_bytes,
            frames=message.frames,
            audio_samples=message.audio_samples,
        )

    def of(self, piece: Piece) -> int:
        """How much there is of the piece's kind."""
        match piece:
            case ContainerBytes():
                return self.container_bytes
            case Frame():
                return self.frames
            case Sound():
                return self.audio_samples

    def reaches(self, other: Position) -> bool:
        """Whether this is at or behind the other in every kind."""
        return (
            self.container_bytes >= other.container_bytes
            and self.frames >= other.frames
            and self.audio_samples >= other.audio_samples
        )

    def after(self, piece: Piece, media: ContainerMedia | FrameMedia) -> Position:
        """Where the stream stands when the piece has been sent; raises MediaUnfit."""
        container_bytes, frames, samples = self.container_bytes, self.frames, self.audio_samples
        match piece, media:
            case ContainerBytes(), ContainerMedia():
                container_bytes += len(piece.data)
            case Frame(), FrameMedia():
                frames += 1
            case Sound(), FrameMedia(sound=kind) if kind is not None:
                if len(piece.data) % kind.frame_bytes:
                    raise MediaUnfit(f"{len(piece.data)} bytes are no whole samples of {kind}")
                samples += len(piece.data) // kind.frame_bytes
            case _:
                raise MediaUnfit(f"{type(piece).__name__} does not belong into {media}")
        return Position(container_bytes=container_bytes, frames=frames, audio_samples=samples)


def rest_of(piece: Piece, skipped: int, media: ContainerMedia | FrameMedia) -> Piece | None:
    """A piece without its first so many bytes, samples or frames; None where nothing is left."""
    match piece:
        case ContainerBytes():
            return ContainerBytes(piece.data[skipped:]) if skipped < len(piece.data) else None
        case Frame():
            return None if skipped else piece
        case Sound():
            assert isinstance(media, FrameMedia)
            assert media.sound is not None
            data = piece.data[skipped * media.sound.frame_bytes :]
            moved = None if piece.time is None else piece.time + skipped / media.sound.rate_hz
            return Sound(data, moved) if data else None
