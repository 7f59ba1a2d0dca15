"""What the samples of a frame mean as colours, by FFmpeg's names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from av.video.frame import VideoFrame

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """What a frame says of its colours; None: nothing, or nothing known."""

    range: str | None
    matrix: str | None
    transfer: str | None
    primaries: str | None

    @property
    def hdr(self) -> str | None:
        """`pq` or `hlg`; None for ordinary pictures."""
        return _HDR.get(self.transfer or "")


def read_colours(frame: VideoFrame) -> Colours:
    """What a frame says of its colours."""
    return Colours(
        range=_RANGES.get(frame.color_range),
        matrix=_MATRICES.get(frame.colorspace),
        transfer=_TRANSFERS.get(frame.color_trc),
        primaries=_PRIMARIES.get(frame.color_primaries),
    )
