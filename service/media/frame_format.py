"""Format of a decoded frame: size, pixel format, colours, and its orientation when displayed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from service.domain.array_types import UInt8Array
from service.media.orientation import Orientation, OrientationReader

FIELD_ORDERS: Final = {1: "progressive", 2: "top", 3: "bottom", 4: "bottom", 5: "top"}
"""Field that is displayed first, by FFmpeg's AVFieldOrder."""
_BOTTOM_FIRST_CODECS: Final = ("dvvideo",)

# FFmpeg's names of its AVCOL_* numbers
_RANGES: Final = {1: "limited", 2: "full"}
_MATRICES: Final = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
}
_TRANSFERS: Final = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
_PRIMARIES: Final = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
_HDR: Final = {"smpte2084": "pq", "arib-std-b67": "hlg"}
_ROTATIONS: Final = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_CLOCKWISE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """Colour metadata of a frame, by FFmpeg's names; None: unspecified or unknown."""

    range: str | None
    matrix: str | None
    transfer: str | None
    primaries: str | None

    @property
    def hdr(self) -> str | None:
        """`pq` or `hlg`; None for standard dynamic range."""
        return _HDR.get(self.transfer or "")

    @property
    def is_tone_mapped(self) -> bool:
        """True for HDR and wide gamut, which are mapped to a standard display."""
        return self.hdr is not None or self.primaries == "bt2020"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFormat:
    """Format of a frame as decoded. aspect: width to height of a pixel, None: square."""

    width: int
    height: int
    pixel_format: str
    bit_depth: int
    aspect: Fraction | None
    orientation: Orientation
    colours: Colours

    @property
    def shape(self) -> tuple[int, int, Fraction | None, Orientation]:
        """The fields that the displayed size depends on."""
        return self.width, self.height, self.aspect, self.orientation

    @property
    def has_oblong_pixels(self) -> bool:
        """True where the picture is scaled to have square pixels."""
        size = self.width, self.height
        return compute_square_pixel_size(*size, self.aspect) != size


def read_aspect(stream: VideoStream) -> Fraction | None:
    """Pixel aspect that the container imposes; None: the frames' own applies."""
    declared = stream.sample_aspect_ratio
    return None if declared == stream.codec_context.sample_aspect_ratio else declared


def read_colours(frame: VideoFrame) -> Colours:
    """Colour metadata of a frame."""
    return Colours(
        range=_RANGES.get(frame.color_range),
        matrix=_MATRICES.get(frame.colorspace),
        transfer=_TRANSFERS.get(frame.color_trc),
        primaries=_PRIMARIES.get(frame.color_primaries),
    )


def read_frame_format(
    frame: VideoFrame,
    context: VideoCodecContext,
    aspect: Fraction | None,
    orientations: OrientationReader,
) -> FrameFormat:
    """Format of a frame.

    Args: context: its decoder's; aspect: the container's; orientations: of the stream's frames.
    """
    return FrameFormat(
        width=frame.width,
        height=frame.height,
        pixel_format=frame.format.name,
        bit_depth=max(component.bits for component in frame.format.components),
        aspect=aspect or context.sample_aspect_ratio or None,
        orientation=orientations.read(frame),
        colours=read_colours(frame),
    )


def is_bottom_field_first(context: VideoCodecContext) -> bool:
    """Check whether the bottom field of interlaced frames is displayed first; default: top."""
    order = FIELD_ORDERS.get(context.field_order)
    return order == "bottom" or (order is None and context.name in _BOTTOM_FIRST_CODECS)


def compute_square_pixel_size(
    width: int, height: int, pixel_aspect: Fraction | None
) -> tuple[int, int]:
    """Size with square pixels, before rotation; the height stays, as in players."""
    aspect = pixel_aspect or Fraction(1)
    return max(1, round(width * aspect)), height


def compute_display_size(
    width: int, height: int, pixel_aspect: Fraction | None, orientation: Orientation
) -> tuple[int, int]:
    """Size as displayed; at an odd angle, of the bounding box of the rotated picture."""
    width, height = compute_square_pixel_size(width, height, pixel_aspect)
    if orientation.degrees % 90:
        sine, cosine = _sine_cosine(orientation)
        across = width * abs(cosine) + height * abs(sine)
        return math.ceil(across), math.ceil(width * abs(sine) + height * abs(cosine))
    return (height, width) if orientation.degrees % 180 else (width, height)


def to_display(
    coded: UInt8Array, pixel_aspect: Fraction | None, orientation: Orientation
) -> UInt8Array:
    """Transform (H, W, 3) RGB as coded into (H', W', 3) as displayed."""
    height, width = coded.shape[:2]
    shown = coded
    if (size := compute_square_pixel_size(width, height, pixel_aspect)) != (width, height):
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_LINEAR)
    if orientation.mirrored:
        shown = cv2.flip(shown, 1)
    if orientation.degrees in _ROTATIONS:
        shown = cv2.rotate(shown, _ROTATIONS[orientation.degrees])
    elif orientation.degrees:
        shown = _rotate(shown.astype(np.uint8, copy=False), orientation)
    return shown.astype(np.uint8, copy=False)


def _rotate(picture: UInt8Array, orientation: Orientation) -> UInt8Array:
    """Rotate by any angle into the bounding box, black outside the picture."""
    height, width = picture.shape[:2]
    size = compute_display_size(width, height, None, orientation)
    sine, cosine = _sine_cosine(orientation)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    centre = np.array([width - 1, height - 1]) / 2
    shift = (np.array(size) - 1) / 2 - turn @ centre
    matrix = np.column_stack([turn, shift])
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR).astype(np.uint8)


def _sine_cosine(orientation: Orientation) -> tuple[float, float]:
    radians = math.radians(orientation.degrees)
    return math.sin(radians), math.cos(radians)
