"""Conversion of decoded frames to pictures for a standard display, HDR tone-mapped.

Pictures of common 8-bit formats read the decoder's planes; others are converted to RGB.
Unspecified colour metadata defaults as in players: BT.709 for high definition, BT.601 below,
limited range. HDR and wide gamut become BT.709 primaries with BT.1886 gamma; reference white
(203 cd/m2, ITU-R BT.2408) becomes white, so that a face is as bright as in SDR, and brighter
light is clipped. Tone mapping takes three steps on whole pictures, because FFmpeg's own takes
seconds to set up and ten times as long a frame.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import cv2
import numpy as np
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import (
    ColorRange,
    Colorspace,
    Interpolation,
    VideoReformatter,
)

from service.domain.array_types import Float64Array, UInt8Array
from service.domain.planar_picture import PlanarPicture
from service.media.frame_format import Colours, FrameFormat, to_display
from service.media.planes import share_planes

_MATRICES: Final = {
    "bt709": Colorspace.ITU709,
    "fcc": Colorspace.FCC,
    "bt470bg": Colorspace.ITU601,
    "smpte170m": Colorspace.ITU601,
    "smpte240m": Colorspace.SMPTE240M,
    "bt2020nc": Colorspace.BT2020,
    "bt2020c": Colorspace.BT2020,
}
_FAST_INTERPOLATION: Final = Interpolation.BILINEAR
_EXACT_INTERPOLATION: Final = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT
"""For more than 8 bits it costs little more, and fast chroma is two levels too dark."""
_EIGHT_BITS: Final = 8
_MAX_SD_SIZE: Final = (1024, 576)

WHITE_NITS: Final = 203.0
"""Luminance of reference white, cd/m2 (ITU-R BT.2408)."""
_PQ_PEAK_NITS: Final = 10_000.0
_HLG_PEAK_NITS: Final = 1000.0
_HLG_SYSTEM_GAMMA: Final = 1.2
_HLG_KNEE: Final = 0.5
_GAMMA: Final = 2.4
_BT2020_TO_BT709: Final = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
"""Linear BT.2020 to linear BT.709 (ITU-R BT.2087)."""


class PictureConverter:
    """Converts the frames of one stream to pictures as displayed."""

    def __init__(self, *, threads: int) -> None:
        self._threads = threads
        self._reformatter = VideoReformatter()
        self._field_extractor = _FieldExtractor()
        self._tone_maps: dict[Colours, _ToneMap] = {}

    def convert(
        self, frame: VideoFrame, frame_format: FrameFormat, *, bottom_first: bool
    ) -> PlanarPicture:
        """Convert a frame to the picture as displayed.

        Of an interlaced frame the first field is converted, which is displayed at its time.

        Raises: FFmpegError: its pixel format cannot be converted.
        """
        matrix = _select_matrix(frame, frame_format.colours)
        shared = share_planes(frame, frame_format, matrix)
        if shared is not None:
            return shared
        coded = self._to_rgb(frame, frame_format.colours, matrix, bottom_first=bottom_first)
        shown = to_display(coded, frame_format.aspect, frame_format.orientation)
        return PlanarPicture.of(shown)

    def _to_rgb(
        self,
        frame: VideoFrame,
        colours: Colours,
        matrix: Colorspace | None,
        *,
        bottom_first: bool,
    ) -> UInt8Array:
        """Convert to (H, W, 3) uint8 as coded: not rotated, pixels not square."""
        height = frame.height
        source = frame
        if frame.interlaced_frame and height > 1:
            source = self._field_extractor.extract(frame, bottom=bottom_first)
        converted = self._reformatter.reformat(
            source,
            width=frame.width,
            height=height,
            format="rgb24",
            src_colorspace=matrix,
            src_color_range=ColorRange.UNSPECIFIED,
            interpolation=_EXACT_INTERPOLATION
            if frame.format.components[0].bits > _EIGHT_BITS
            else _FAST_INTERPOLATION,
            threads=self._threads,
        )
        rgb = np.asarray(converted.to_ndarray(), np.uint8)
        if not colours.is_tone_mapped:
            return rgb
        if colours not in self._tone_maps:
            self._tone_maps = {colours: _ToneMap(colours)}
        return self._tone_maps[colours].apply(rgb)


def _select_matrix(frame: VideoFrame, colours: Colours) -> Colorspace | None:
    """Matrix to decode luma and chroma with; None: the frame has RGB samples."""
    if frame.format.is_rgb:
        return None
    if colours.matrix in _MATRICES:
        return _MATRICES[colours.matrix]
    if colours.hdr is not None:
        return Colorspace.BT2020
    width, height = _MAX_SD_SIZE
    small = frame.width <= width and frame.height <= height
    return Colorspace.ITU601 if small else Colorspace.ITU709


class _FieldExtractor:
    """Extracts one field, with its chroma, of interlaced frames."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[int, int, str, bool], Graph] = {}

    def extract(self, frame: VideoFrame, *, bottom: bool) -> VideoFrame:
        """Return the field as a frame of half the height."""
        key = (frame.width, frame.height, frame.format.name, bottom)
        if key not in self._graphs:
            self._graphs = {key: _build_field_graph(*key)}
        graph = self._graphs[key]
        graph.push(frame)
        field = graph.pull()
        if not isinstance(field, VideoFrame):
            raise TypeError("the field filter returned no video frame")
        return field


def _build_field_graph(width: int, height: int, pixel_format: str, bottom: bool) -> Graph:
    graph = Graph()
    shape = VideoFormat(pixel_format, width, height)
    source = graph.add_buffer(width=width, height=height, format=shape, time_base=Fraction(1))
    field = graph.add("field", "bottom" if bottom else "top")
    sink = graph.add("buffersink")
    source.link_to(field)
    field.link_to(sink)
    graph.configure()
    return graph


class _ToneMap:
    """Maps 8-bit RGB of these colours to BT.709."""

    def __init__(self, colours: Colours) -> None:
        signal = np.arange(256) / 255
        linear = np.clip(_linearize(signal, colours.hdr), 0, 1)
        self._linear = np.round(65535 * linear).astype(np.uint16)
        self._matrix = np.eye(3) if colours.primaries == "bt709" else _BT2020_TO_BT709
        codes = (np.arange(65536) / 65535) ** (1 / _GAMMA)
        self._codes = np.round(255 * codes).astype(np.uint8)

    def apply(self, rgb: UInt8Array) -> UInt8Array:
        """Map (H, W, 3) uint8; the shape stays."""
        linear = cv2.transform(cv2.LUT(rgb, self._linear), self._matrix)
        return self._codes[linear.astype(np.uint16, copy=False)]


def _linearize(signal: Float64Array, hdr: str | None) -> Float64Array:
    """Displayed light for a signal in [0, 1], relative to white."""
    if hdr == "pq":
        return _pq_to_nits(signal) / WHITE_NITS
    if hdr == "hlg":
        return _HLG_PEAK_NITS * _hlg_to_scene_light(signal) ** _HLG_SYSTEM_GAMMA / WHITE_NITS
    return signal**_GAMMA


def _pq_to_nits(signal: Float64Array) -> Float64Array:
    """Decode PQ (SMPTE ST 2084)."""
    power = signal ** (1 / 78.84375)
    ratio = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
    return _PQ_PEAK_NITS * ratio ** (1 / 0.1593017578125)


def _hlg_to_scene_light(signal: Float64Array) -> Float64Array:
    """Invert the HLG transfer function (ARIB STD-B67), channel by channel."""
    bright = (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return np.where(signal <= _HLG_KNEE, signal**2 / 3, bright)
