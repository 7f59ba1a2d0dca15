"""From a decoded frame to 8-bit RGB as an ordinary screen shows it.

What a frame leaves open is taken as players take it: BT.709 for high definition, BT.601
below, limited range.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

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

from service.domain.array_types import UInt8Array
from service.media.colour import Colours, read_colours
from service.media.tone_mapping import ToneMap

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
"""For deep pixels it costs little more, and the fast way is two levels too dark."""
_MAX_SD_SIZE: Final = (1024, 576)


class RgbConverter:
    """Makes RGB of the frames of one stream."""

    def __init__(self, *, threads: int) -> None:
        self._threads = threads
        self._reformatter = VideoReformatter()
        self._field_extractor = _FieldExtractor()
        self._tone_maps: dict[Colours, ToneMap] = {}

    def to_rgb(self, frame: VideoFrame, *, bottom_first: bool) -> UInt8Array:
        """(H, W, 3) uint8 as coded: neither turned nor with square pixels.

        An interlaced frame shows its first field, which is what a viewer sees at its time.

        Raises: FFmpegError: no way from its pixel format.
        """
        height, colours = frame.height, read_colours(frame)
        source = frame
        if frame.interlaced_frame and height > 1:
            source = self._field_extractor.extract(frame, bottom=bottom_first)
        converted = self._reformatter.reformat(
            source,
            width=frame.width,
            height=height,
            format="rgb24",
            src_colorspace=_select_matrix(frame, colours),
            src_color_range=ColorRange.UNSPECIFIED,
            interpolation=_EXACT_INTERPOLATION
            if frame.format.components[0].bits > 8
            else _FAST_INTERPOLATION,
            threads=self._threads,
        )
        rgb = np.asarray(converted.to_ndarray(), np.uint8)
        if colours.hdr is None and colours.primaries != "bt2020":
            return rgb
        if colours not in self._tone_maps:
            self._tone_maps = {colours: ToneMap(colours)}
        return self._tone_maps[colours].apply(rgb)


def _select_matrix(frame: VideoFrame, colours: Colours) -> Colorspace | None:
    """The matrix that made this frame's luma and chroma; None: it has RGB samples."""
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
    """Cuts one field out of interlaced frames, chroma and all."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[int, int, str, bool], Graph] = {}

    def extract(self, frame: VideoFrame, *, bottom: bool) -> VideoFrame:
        """The field as a frame of half the height."""
        key = (frame.width, frame.height, frame.format.name, bottom)
        if key not in self._graphs:
            self._graphs = {key: _build_field_graph(*key)}
        graph = self._graphs[key]
        graph.push(frame)
        field = graph.pull()
        if not isinstance(field, VideoFrame):
            raise TypeError("a picture went in and something else came out")
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
