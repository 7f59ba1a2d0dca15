"""Requests of a stream: its configuration, then its media; checks of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.domain.options import FaceSelection
from service.domain.stream import (
    AudioFormat,
    FrameEncoding,
    FrameStreamMedia,
    StreamInput,
    StreamMedia,
)
from service.errors import ClipTooManyPixels, RequestInvalid
from service.settings import Settings

MAX_CHANNELS: Final = 8
MIN_RATE_HZ: Final = 1_000
MAX_RATE_HZ: Final = 768_000
"""Accepted sample rates."""


class OverloadPolicy(StrEnum):
    """Policy for frames that arrive faster than they are processed."""

    BLOCK = "block"
    """Read no further requests until there is room: the transport slows the client down."""
    DROP_OLDEST = "drop_oldest"
    """Drop the oldest queued frame; audio is never dropped."""
    FAIL = "fail"
    """End the stream with StreamOverrun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSessionConfig:
    """Options of one stream, its first request.

    model: NAME or NAME@VERSION; None: the service's default, or that of the stream resumed.
    resume_token: empty for a new stream.
    """

    media: StreamMedia
    model: str | None = None
    faces: FaceSelection = FaceSelection.PRIMARY
    overload_policy: OverloadPolicy = OverloadPolicy.BLOCK
    final_results_only: bool = False
    resume_token: str = ""


StreamRequest = StreamSessionConfig | StreamInput
"""A config first, then media of the kind that it announces."""


def check_stream_config(config: StreamSessionConfig, settings: Settings) -> None:
    """Check the options that depend on each other or on the limits of the service.

    Raises: RequestInvalid, ClipTooManyPixels.
    """
    if isinstance(config.media, FrameStreamMedia):
        _check_frame_media(config.media, settings)
    elif config.overload_policy is OverloadPolicy.DROP_OLDEST:
        raise RequestInvalid(
            "OVERLOAD_POLICY_DROP_OLDEST is for single frames, not a container",
            field="config.overload_policy",
        )


def _check_frame_media(media: FrameStreamMedia, settings: Settings) -> None:
    if media.encoding is FrameEncoding.RGB24:
        if not media.width or not media.height:
            raise RequestInvalid(
                "FRAME_ENCODING_RGB24 needs `width` and `height`", field="config.frames.width"
            )
        pixels = media.width * media.height
        if pixels > settings.max_frame_pixels or 3 * pixels > settings.max_stream_message_bytes:
            raise ClipTooManyPixels()
    elif media.width or media.height:
        raise RequestInvalid(
            "`width` and `height` are for FRAME_ENCODING_RGB24 alone", field="config.frames.width"
        )
    if media.audio is not None:
        _check_audio_format(media.audio)


def _check_audio_format(audio: AudioFormat) -> None:
    if not MIN_RATE_HZ <= audio.rate_hz <= MAX_RATE_HZ:
        raise RequestInvalid(
            f"`sample_rate_hz` must be from {MIN_RATE_HZ} to {MAX_RATE_HZ}",
            field="config.frames.audio.sample_rate_hz",
        )
    if not 1 <= audio.channels <= MAX_CHANNELS:
        raise RequestInvalid(
            f"`channels` must be from 1 to {MAX_CHANNELS}", field="config.frames.audio.channels"
        )
