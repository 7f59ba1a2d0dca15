"""Gains of the channels in the down-mix to one, by the names of their places."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

Samples = npt.NDArray[np.float64]

STEREO_LAYOUTS: Final = frozenset({"stereo", "2 channels", "downmix"})
_GAINS: Final = {
    **dict.fromkeys(("FC", "AMBI0"), 1.0),
    **dict.fromkeys(("FL", "FR", "DL", "DR", "BIL", "BIR", "FLC", "FRC", "BC"), 0.5),
    **dict.fromkeys(("BL", "BR", "SL", "SR", "WL", "WR"), 0.5 * math.sqrt(0.5)),
    **dict.fromkeys(("LFE", "LFE2"), 0.0),
}
"""A voice in the centre keeps its level, be it in one centre channel or in both front ones."""
_UNNAMED: Final = "NONE"
_OTHER_GAIN: Final = 0.25


def read_gains(frame: AudioFrame) -> Samples:
    """Read the gains of the channels; all alike where the channels have no names."""
    names = [channel.name for channel in frame.layout.channels]
    if frame.layout.name in STEREO_LAYOUTS:
        return np.full(len(names), 0.5)
    gains = np.array([_GAINS.get(name, _OTHER_GAIN) for name in names])
    are_alike = len(names) == 1 or _UNNAMED in names or not gains.any()
    return np.ones(len(names)) if are_alike else gains
