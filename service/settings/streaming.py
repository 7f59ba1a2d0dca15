"""How streams are served while they last."""

from __future__ import annotations

from pydantic import Field

from service.settings.base import SettingsGroup


class Streaming(SettingsGroup):
    """Bounds of streams. How long one may be, and how large its frames, is as for clips."""

    websocket_origins: str = Field(
        default="",
        pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/\s,]+([ ,]+[a-z][a-z0-9+.-]*://[^/\s,]+)*)?$",
        description="Origins, https://example.org, of the pages that may open streams over "
        "WebSocket; *: all. Without it, those that the gateway's own address serves.",
    )
    max_streams: int | None = Field(
        default=None,
        ge=1,
        description="Streams of one gateway at a time; unset: two for each processor.",
    )
    stream_admission_latency_seconds: float = Field(
        default=0.2,
        gt=0,
        description="While provisional results take longer (p95), no further stream is let in.",
    )
    max_stream_message_bytes: int = Field(
        default=8 * 2**20, ge=2**16, description="Largest message of a stream, bytes."
    )
    stream_queue_frames: int = Field(
        default=16, ge=1, le=1024, description="Frames of a stream that wait for their turn."
    )
    stream_unread_results: int = Field(
        default=64, ge=1, le=4096, description="Results kept for a client that does not read them."
    )
    stream_idle_seconds: float = Field(
        default=3600.0,
        gt=0,
        description="A stream that brings nothing for so long is ended; it can be resumed.",
    )
    stream_resume_seconds: float = Field(
        default=600.0,
        ge=1,
        description="A broken stream can be resumed, at any gateway, for so long.",
    )
