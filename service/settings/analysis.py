"""How a clip is decoded, looked at and estimated."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from service.settings.base import SettingsGroup


class Decoding(SettingsGroup):
    """What a decode child gets."""

    decode_threads: int = Field(default=2, ge=1, le=64, description="Decoder threads of one clip.")
    decode_memory_bytes: int = Field(
        default=4 * 2**30,
        ge=2**28,
        description="Address-space headroom of the decode child, bytes.",
    )
    decode_stall_seconds: float = Field(
        default=60.0, gt=0, description="A decode child that yields nothing for so long is killed."
    )
    decode_wall_seconds: float = Field(
        default=12 * 3600.0,
        gt=0,
        description="Seconds one clip's decode child may be waited for, all in all.",
    )
    decode_cpu_seconds: int = Field(
        default=12 * 3600, ge=1, description="Processor time that one clip's decode child may take."
    )
    chunk_frames: int = Field(
        default=32, ge=1, le=300, description="Frames that travel to the backbones together."
    )


class FaceTracking(SettingsGroup):
    """Which faces are followed."""

    max_faces: int = Field(
        default=6, ge=1, le=8, description="Faces followed at a time, the largest; one a track."
    )
    min_face_pixels: float = Field(
        default=20.0,
        ge=1,
        description="Height of the smallest face that is followed, pixels of the displayed frame.",
    )


class Analysis(SettingsGroup):
    """Windows, smoothing and inference."""

    window_frames: int = Field(
        default=300, ge=2, le=3000, description="Frames the fusion sees at once."
    )
    hop_frames: int = Field(
        default=200,
        ge=1,
        le=3000,
        description="Frames from one window to the next, at most a window.",
    )
    smoothing_seconds: float = Field(
        default=0.2,
        ge=0,
        le=10,
        description="Sigma of the Gaussian that smooths the points; 0 is off.",
    )

    triton_timeout_seconds: float = Field(
        default=120.0, gt=0, description="Deadline of one inference request."
    )
    triton_shared_memory: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="More than a few crops through shared memory; auto: if Triton is on loopback "
        "and can open it.",
    )
    chunks_in_flight: int = Field(
        default=3, ge=1, le=32, description="Chunks of one clip at the backbones at the same time."
    )

    @model_validator(mode="after")
    def _check_hop(self) -> Self:
        if self.hop_frames > self.window_frames:
            raise ValueError("hop_frames must not exceed window_frames")
        return self
