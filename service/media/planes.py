"""Pictures that share the planes of decoded 8-bit YUV frames, without conversion or copy."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import Colorspace

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.planar_picture import PlanarPicture, Plane
from service.media.frame_format import FrameFormat

_CHROMA_STEPS: Final = {
    "yuv420p": (2, 2),
    "yuvj420p": (2, 2),
    "nv12": (2, 2),
    "yuv422p": (2, 1),
    "yuvj422p": (2, 1),
    "yuv444p": (1, 1),
    "yuvj444p": (1, 1),
}
"""Pixel formats that are read as they are, and the pixels across and down of a chroma sample."""
_LUMA_WEIGHTS: Final = {
    Colorspace.ITU709: (0.2126, 0.0722),
    Colorspace.ITU601: (0.299, 0.114),
    Colorspace.FCC: (0.30, 0.11),
    Colorspace.SMPTE240M: (0.212, 0.087),
}
"""Shares of red and blue in luma."""
_LIMITED_RANGE_ROUNDING: Final = (-1.0, -1.5, -1.0)
_FULL_RANGE_ROUNDING: Final = (-0.5, -1.0, -0.5)
"""Mean levels by which FFmpeg's conversion rounds red, green and blue down where chroma is
subsampled and the width even; the same here, so that colours do not depend on how a picture is
converted."""


def share_planes(
    frame: VideoFrame, frame_format: FrameFormat, matrix: Colorspace | None
) -> PlanarPicture | None:
    """Make a picture that reads the planes of a frame; None: the frame has to be converted.

    Args: matrix: the frame's luma and chroma are coded with.
    """
    steps = _CHROMA_STEPS.get(frame_format.pixel_format)
    weights = None if matrix is None else _LUMA_WEIGHTS.get(matrix)
    orientation, colours = frame_format.orientation, frame_format.colours
    if steps is None or weights is None or orientation.degrees % 90 or frame.interlaced_frame:
        return None
    if frame_format.has_oblong_pixels or colours.is_tone_mapped:
        return None
    if any(plane.line_size < plane.width for plane in frame.planes):  # bottom-up
        return None
    is_full = colours.range == "full" or frame_format.pixel_format.startswith("yuvj")
    luma, *chroma = frame.planes
    across, down = steps
    return PlanarPicture(
        [
            Plane(samples=_view(luma, 1)),
            *(
                Plane(samples=_view(each, 3 - len(chroma)), across=across, down=down)
                for each in chroma
            ),
        ],
        rgb_matrix=_make_rgb_matrix(
            *weights, is_full=is_full, is_rounded=steps == (1, 1) or frame.width % 2 == 1
        ),
        mirrored=orientation.mirrored,
        quarter_turns=orientation.degrees // 90,
    )


def _view(plane: VideoPlane, channels: int) -> UInt8Array:
    """View the samples of a plane, (h, w) or (h, w, C)."""
    view = memoryview(plane)  # pyright: ignore[reportArgumentType]  # it has a buffer
    rows = np.frombuffer(view, np.uint8).reshape(plane.height, plane.line_size)
    samples = rows[:, : plane.width * channels]
    return samples if channels == 1 else samples.reshape(plane.height, plane.width, channels)


@cache
def _make_rgb_matrix(red: float, blue: float, *, is_full: bool, is_rounded: bool) -> Float32Array:
    """Make the (3, 4) matrix from 8-bit luma, blue and red difference to RGB.

    Args: is_rounded: to the nearest level; False: down, as FFmpeg does with subsampled chroma.
    Source: ITU-R BT.601 and BT.709.
    """
    green = 1 - red - blue
    luma, chroma, black = (1.0, 1.0, 0.0) if is_full else (255 / 219, 255 / 224, 16.0)
    to_red, to_blue = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
    linear = np.array(
        [
            [luma, 0, to_red],
            [luma, -blue / green * to_blue, -red / green * to_red],
            [luma, to_blue, 0],
        ]
    )
    shift = linear @ [-black, -128.0, -128.0]
    if not is_rounded:
        shift += _FULL_RANGE_ROUNDING if is_full else _LIMITED_RANGE_ROUNDING
    return np.column_stack([linear, shift]).astype(np.float32)
