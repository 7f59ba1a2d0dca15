"""Orientation of a frame when displayed, by the display matrix that it carries.

FFmpeg gives a frame the container's matrix, and replaces it by what the coded picture says: the
orientation in EXIF of a JPEG, or a message of H.264 or HEVC. The same holds in its own players.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, cast

import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideData, Type
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

_ANGLE_TOLERANCE_DEGREES: Final = 1.0
"""Angles this close to a quarter turn count as one: matrices hold rounded sines."""
_SIDE_DATA_KINDS: Final = 64
"""Kinds of side data that are dropped by number; FFmpeg 8.1 has 32 and adds one or two a year."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orientation:
    """Transform for display: mirror left to right, then rotate counter-clockwise."""

    degrees: int = 0
    """0 to 359."""
    mirrored: bool = False


UPRIGHT: Final = Orientation()


class OrientationReader:
    """Reads the orientation of the frames of one stream.

    PyAV fails on all side data of a frame if it has no name for one of them, and frees the
    metadata of side data twice, which crashes on a PNG picture with a colour profile. So FFmpeg's
    filter `sidedata` drops everything but the display matrix before PyAV sees the side data.
    """

    def __init__(self) -> None:
        self._graphs: dict[tuple[int, int, str], Graph] = {}

    def read(self, frame: VideoFrame) -> Orientation:
        """Orientation by a frame's display matrix; its scaling and translation are ignored."""
        key = (frame.width, frame.height, frame.format.name)
        if key not in self._graphs:
            self._graphs = {key: _build_matrix_graph(*key)}
        graph = self._graphs[key]
        graph.push(frame)
        try:
            filtered = graph.pull()
        except BlockingIOError:  # no display matrix
            return UPRIGHT
        matrix = bytes(cast("Sequence[SideData]", filtered.side_data)[0])
        return parse_display_matrix(np.frombuffer(matrix, np.int32).tolist())


def _build_matrix_graph(width: int, height: int, pixel_format: str) -> Graph:
    """Build a graph of the frames that have a display matrix, without their other side data."""
    matrix = int(Type.DISPLAYMATRIX.value)
    dropped = [kind for kind in range(_SIDE_DATA_KINDS) if kind != matrix]
    graph = Graph()
    graph.threads = 1
    shape = VideoFormat(pixel_format, width, height)
    last = graph.add_buffer(width=width, height=height, format=shape, time_base=Fraction(1))
    for arguments in (
        f"mode=select:type={matrix}",
        *(f"mode=delete:type={kind}" for kind in dropped),
    ):
        following = graph.add("sidedata", arguments)
        last.link_to(following)
        last = following
    last.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def parse_display_matrix(matrix: list[int]) -> Orientation:
    """Orientation of nine numbers in FFmpeg's order: (x, y) maps to (ax + cy, bx + dy), y down."""
    a, b, _, c, d, *_ = matrix
    mirrored = a * d - b * c < 0
    across = (-a, -b) if mirrored else (a, b)
    if across == (0, 0):
        return UPRIGHT
    degrees = -math.degrees(math.atan2(across[1], across[0]))
    quarter = 90 * round(degrees / 90)
    near = abs(degrees - quarter) <= _ANGLE_TOLERANCE_DEGREES
    return Orientation(degrees=(quarter if near else round(degrees)) % 360, mirrored=mirrored)
