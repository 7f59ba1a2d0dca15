"""Wide range and wide gamut to what an ordinary screen shows: BT.709 primaries, BT.1886 gamma.

Reference white (203 cd/m2, ITU-R BT.2408) becomes white, so that a face is as bright as in
ordinary pictures; what is brighter is clipped. In three steps on whole pictures, because FFmpeg's
own conversion takes seconds to set up and ten times as long a frame.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from service.domain.array_types import UInt8Array
from service.media.colour import Colours

WHITE_NITS: Final = 203.0
_PQ_PEAK_NITS: Final = 10_000.0
_HLG_PEAK_NITS: Final = 1000.0
_HLG_SYSTEM_GAMMA: Final = 1.2
_GAMMA: Final = 2.4
_BT2020_TO_BT709: Final = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
"""Linear BT.2020 to linear BT.709 (ITU-R BT.2087)."""

Float64Array = npt.NDArray[np.float64]


class ToneMap:
    """Brings 8-bit RGB of these colours to BT.709."""

    def __init__(self, colours: Colours) -> None:
        signal = np.arange(256) / 255
        linear = np.clip(_linearize(signal, colours.hdr), 0, 1)
        self._linear = np.round(65535 * linear).astype(np.uint16)
        self._matrix = np.eye(3) if colours.primaries == "bt709" else _BT2020_TO_BT709
        codes = (np.arange(65536) / 65535) ** (1 / _GAMMA)
        self._codes = np.round(255 * codes).astype(np.uint8)

    def apply(self, rgb: UInt8Array) -> UInt8Array:
        """(H, W, 3) uint8 to the same shape."""
        linear = cv2.transform(cv2.LUT(rgb, self._linear), self._matrix)
        return self._codes[linear.astype(np.uint16, copy=False)]


def _linearize(signal: Float64Array, hdr: str | None) -> Float64Array:
    """Light on the screen for a signal in [0, 1]; white is 1."""
    if hdr == "pq":
        return _pq_to_nits(signal) / WHITE_NITS
    if hdr == "hlg":
        return _HLG_PEAK_NITS * _hlg_to_scene_light(signal) ** _HLG_SYSTEM_GAMMA / WHITE_NITS
    return signal**_GAMMA


def _pq_to_nits(signal: Float64Array) -> Float64Array:
    """SMPTE ST 2084."""
    power = signal ** (1 / 78.84375)
    ratio = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
    return _PQ_PEAK_NITS * ratio ** (1 / 0.1593017578125)


def _hlg_to_scene_light(signal: Float64Array) -> Float64Array:
    """ARIB STD-B67, the inverse of its transfer function; the channels are taken apart."""
    bright = (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return np.where(signal <= 0.5, signal**2 / 3, bright)
