"""What nursery and decode child are told, as JSON: one its only argument, the other its request."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.domain.choices import AnalysisOptions

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
