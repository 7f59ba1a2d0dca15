"""What the child of one stream is told, as JSON, the field `live` set apart from a clip's.

What nursery and decode child are told, as JSON: one its only argument, the other its request.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from service.domain.options import AnalysisOptions
from service.domain.stream import (
    AudioFormat,
    ContainerStreamMedia,
    FrameEncoding,
    FrameStreamMedia,
    SampleEncoding,
    StreamMedia,
)

if TYPE_CHECKING:  # the child starts without pydantic
    from service.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDecodeRequest:
    """All that the child of one stream is told.

    goes_on: whether the state of a Snapshot comes before the media.
    """

    media: StreamMedia
    options: DecodeRequest
    has_snapshot: bool

    @staticmethod
    def from_settings(
        media: StreamMedia, settings: Settings, *, has_snapshot: bool
    ) -> StreamDecodeRequest:
        """What the child needs of the media's description and the settings."""
        chosen = AnalysisOptions()
        if isinstance(media, ContainerStreamMedia):
            chosen = AnalysisOptions(
                video_stream=media.video_stream, audio_stream=media.audio_stream
            )
        return StreamDecodeRequest(
            media=media,
            options=DecodeRequest.from_settings(chosen, settings),
            has_snapshot=has_snapshot,
        )

    def to_json(self) -> bytes:
        """As the child is told them."""
        media = None if isinstance(self.media, ContainerStreamMedia) else asdict(self.media)
        options = asdict(self.options)
        return json.dumps(
            {"live": media, "options": options, "goes_on": self.has_snapshot}
        ).encode()

    @staticmethod
    def from_json(fields: dict[str, Any]) -> StreamDecodeRequest:
        """What `to_request` has made, read back."""
        options = DecodeRequest(**fields["options"])
        media = ContainerStreamMedia() if fields["live"] is None else _read_media(**fields["live"])
        return StreamDecodeRequest(media=media, options=options, has_snapshot=fields["goes_on"])


def _read_media(
    *, encoding: str, width: int, height: int, sound: dict[str, Any] | None
) -> FrameStreamMedia:
    known: dict[str, Any] = {}
    if sound is not None:
        known = sound | {"encoding": SampleEncoding(sound["encoding"])}
    return FrameStreamMedia(
        encoding=FrameEncoding(encoding),
        width=width,
        height=height,
        sound=AudioFormat(**known) if known else None,
    )


if TYPE_CHECKING:  # the child starts without pydantic
    from service.settings import Settings


CLIP_HANDLES: Final = 2
"""How often a child opens its clip: for the pictures and for the sound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkserverConfig:
    """All that the nursery is told: what it loads for its children, and who owns it."""

    face_models_dir: str
    yunet_file: str | None
    max_faces: int
    min_face_pixels: float
    owner_pid: int

    @staticmethod
    def from_settings(settings: Settings) -> ForkserverConfig:
        """What this process's nursery needs of the settings."""
        yunet = settings.yunet_file
        return ForkserverConfig(
            face_models_dir=str(settings.face_models_dir.absolute()),
            yunet_file=None if yunet is None else str(yunet.absolute()),
            max_faces=settings.max_faces,
            min_face_pixels=settings.min_face_pixels,
            owner_pid=os.getpid(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRequest:
    """All that the child of one clip is told."""

    video_stream: int | None
    audio_stream: int | None
    max_seconds: float
    max_frames: int
    max_pixels: int
    threads: int
    memory_bytes: int
    cpu_seconds: int
    chunk_frames: int

    @staticmethod
    def from_settings(options: AnalysisOptions, settings: Settings) -> DecodeRequest:
        """What the child needs of the choices and the settings."""
        return DecodeRequest(
            video_stream=options.video_stream,
            audio_stream=options.audio_stream,
            max_seconds=settings.max_clip_seconds,
            max_frames=settings.max_clip_frames,
            max_pixels=settings.max_frame_pixels,
            threads=settings.decode_threads,
            memory_bytes=settings.decode_memory_bytes,
            cpu_seconds=settings.decode_cpu_seconds,
            chunk_frames=settings.chunk_frames,
        )
