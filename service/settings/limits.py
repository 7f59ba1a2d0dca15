"""Settings of the limits: requests, clips and streams of clients."""

from __future__ import annotations

import os
from typing import Final

from pydantic import Field

from service.settings.base import SettingsGroup

STREAMS_PER_CPU: Final = 2
"""Maximum number of streams per CPU where `max_streams` is unset."""


class ClientLimits(SettingsGroup):
    """Client limits: sizes, rates and numbers beyond which a request is refused."""

    max_upload_bytes: int = Field(
        default=2 * 2**30,
        ge=1,
        description="Maximum size of an upload, bytes; larger ones are answered with 413.",
    )
    upload_idle_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Idle time-out of an upload, seconds; answered with 408.",
    )
    upload_min_bytes_per_second: float = Field(
        default=1024.0,
        ge=0,
        description="Minimum transfer rate of an upload, bytes per second, measured over "
        "upload_idle_seconds of waiting; answered with 408.",
    )
    request_head_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Time-out of a request's head, seconds; answered with 408.",
    )
    response_stall_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Time-out of a client that stops reading its response, seconds; "
        "then the connection is closed.",
    )
    max_connections: int = Field(
        default=1000,
        ge=1,
        description="Maximum number of connections to the gateway; more are answered with 503.",
    )
    max_connections_per_client: int = Field(
        default=500,
        ge=1,
        description="Maximum number of connections per client address. Behind a proxy all clients "
        "share the proxy's address.",
    )
    max_calls: int = Field(
        default=1000,
        ge=1,
        description="Maximum number of concurrent gRPC calls; more are answered with "
        "RESOURCE_EXHAUSTED. Calls of the health service count apart.",
    )
    max_calls_per_client: int = Field(
        default=500,
        ge=1,
        description="Maximum number of concurrent gRPC calls of one address, and of one API key. "
        "Behind a proxy all clients share the proxy's address.",
    )
    call_message_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Time-out of the first message of a gRPC call, seconds; answered with "
        "DEADLINE_EXCEEDED.",
    )
    max_pending_message_bytes: int = Field(
        default=768 * 2**20,
        ge=2**16,
        description="Maximum memory of gRPC messages on their way, bytes; a call that waits for "
        "one counts as max_stream_message_bytes. A third is for the first messages of calls, "
        "the rest for uploads.",
    )
    max_pending_message_bytes_per_client: int = Field(
        default=96 * 2**20,
        ge=2**16,
        description="The same for one API key, or address where none is required, bytes.",
    )
    max_clip_seconds: float = Field(
        default=12 * 3600.0, gt=0, description="Maximum duration of a clip, seconds."
    )
    max_clip_frames: int = Field(
        default=1_000_000, ge=1, description="Maximum number of frames of a clip."
    )
    max_frame_pixels: int = Field(
        default=8192 * 4320, ge=1, description="Maximum number of pixels of a frame, as coded."
    )

    max_prefer_wait_seconds: int = Field(
        default=60, ge=0, le=600, description="Maximum wait by `Prefer: wait=N`, seconds."
    )
    max_subscribers: int = Field(
        default=100,
        ge=1,
        description="Maximum number of clients of one gateway that wait for jobs or follow events.",
    )
    max_subscribers_per_client: int = Field(
        default=50,
        ge=1,
        description="The same for one API key, or address where none is required.",
    )


class Streaming(SettingsGroup):
    """Streaming: limits of streams. Duration and frame size are limited as for clips."""

    websocket_origins: str = Field(
        default="",
        pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/\s,]+([ ,]+[a-z][a-z0-9+.-]*://[^/\s,]+)*)?$",
        description="Origins of web pages that may open streams over WebSocket, beside "
        "allowed_origins, in the same notation.",
    )
    max_streams: int | None = Field(
        default=None,
        ge=1,
        description="Maximum number of streams of one gateway; unset: two per CPU.",
    )
    max_streams_per_client: int | None = Field(
        default=None,
        ge=1,
        description="Maximum number of streams of one API key, or address where none is required, "
        "at one gateway; unset: max_streams.",
    )
    stream_reserve_fraction: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Streams beyond max_streams, as a fraction of it, for API keys and addresses "
        "that have none while another has several; at least one stream.",
    )
    stream_admission_latency_seconds: float = Field(
        default=0.2,
        gt=0,
        description="Latency of provisional results (p95) above which new streams are refused, "
        "seconds.",
    )
    max_stream_message_bytes: int = Field(
        default=8 * 2**20, ge=2**16, description="Maximum size of a stream's message, bytes."
    )
    stream_queue_frames: int = Field(
        default=16, ge=1, le=1024, description="Maximum number of queued frames of a stream."
    )
    stream_unread_results: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Maximum number of results buffered for a client that does not read them.",
    )
    stream_idle_seconds: float = Field(
        default=3600.0,
        gt=0,
        description="Idle time-out of a stream, seconds; the stream can be resumed afterwards.",
    )
    stream_first_frame_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Time-out of a stream that has had no frame yet, seconds: over it at least "
        "upload_min_bytes_per_second of media have to come.",
    )
    stream_resume_seconds: float = Field(
        default=600.0,
        ge=1,
        description="Time in which a broken stream can be resumed at any gateway, seconds.",
    )

    def count_streams(self) -> int:
        """Return the maximum number of streams of one gateway, without the reserved ones."""
        return self.max_streams or STREAMS_PER_CPU * (os.cpu_count() or 1)

    def count_reserved_streams(self) -> int:
        """Return the number of streams beyond it, for clients that have none."""
        return max(int(self.count_streams() * self.stream_reserve_fraction), 1)
