"""A camera, frame by frame; needs the extra `media`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from circumplex_client.errors import ExtraMissing
from circumplex_client.live.media import ImageFrame


async def capture_camera(device: str, *, kind: str | None = None) -> AsyncGenerator[ImageFrame]:
    """A camera's frames as JPEG, until it ends; kind: FFmpeg's name of the sort of device.

    Raises: MediaUnfit, ExtraMissing.
    """
    try:
        from circumplex_client.live import pyav_io
    except ImportError as error:
        raise ExtraMissing(
            "a camera needs PyAV: pip install 'circumplex-client[media]'; or pipe it: "
            "ffmpeg -f v4l2 -i DEVICE -f matroska - | circumplex-client live -"
        ) from error
    frames = pyav_io.capture_frames(device, kind=kind)
    while (frame := await asyncio.to_thread(next, frames, None)) is not None:
        yield frame
