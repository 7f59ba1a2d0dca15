"""What is taken from clients."""

from __future__ import annotations

from pydantic import Field

from service.settings.base import SettingsGroup


class ClientLimits(SettingsGroup):
    """Sizes, paces and numbers beyond which a request is refused."""

    max_upload_bytes: int = Field(
        default=2 * 2**30, ge=1, description="Largest upload, bytes; more is refused with 413."
    )
    upload_idle_seconds: float = Field(
        default=30.0, gt=0, description="An upload that brings nothing for so long is ended: 408."
    )
    upload_min_bytes_per_second: float = Field(
        default=1024.0,
        ge=0,
        description="An upload slower than this, over upload_idle_seconds of waiting, is ended.",
    )
    request_head_timeout_seconds: float = Field(
        default=10.0, gt=0, description="A connection may take so long over a request's head: 408."
    )
    response_stall_seconds: float = Field(
        default=30.0,
        gt=0,
        description="A client that takes no more of its answer for so long is cut off.",
    )
    max_connections: int = Field(
        default=1000, ge=1, description="Connections of the gateway at a time; more get 503."
    )
    max_connections_per_client: int = Field(
        default=500,
        ge=1,
        description="The same for one address. Behind a proxy all clients have the proxy's.",
    )
    max_calls: int = Field(
        default=1000,
        ge=1,
        description="gRPC calls of the gateway at a time; more get RESOURCE_EXHAUSTED.",
    )
    max_clip_seconds: float = Field(
        default=12 * 3600.0, gt=0, description="Longest clip, seconds of presentation time."
    )
    max_clip_frames: int = Field(default=1_000_000, ge=1, description="Most frames of one clip.")
    max_frame_pixels: int = Field(
        default=8192 * 4320, ge=1, description="Most pixels of one frame, as coded."
    )

    max_prefer_wait_seconds: int = Field(
        default=60, ge=0, le=600, description="Longest that `Prefer: wait=N` is heeded, seconds."
    )
    max_subscribers: int = Field(
        default=100,
        ge=1,
        description="Clients of one gateway that may wait for jobs or follow their events at once.",
    )
