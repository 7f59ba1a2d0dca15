"""Audio grid of a clip: samples at 16 kHz from time 0, and the patch of each video frame.

Source: the VGGish front end (Hershey et al. 2017): 25 ms windows every 10 ms,
patches of 96 windows; one patch starts at each video frame's time.
"""

from __future__ import annotations

import math
from typing import Final

SAMPLE_RATE_HZ: Final = 16_000
HOP_SAMPLES: Final = 160
"""10 ms between the spectra of a log-mel."""
WINDOW_SAMPLES: Final = 400
"""25 ms of audio in a spectrum."""
PATCH_HOPS: Final = 96
MEL_BANDS: Final = 64
"""Size of a patch: 96 spectra of 64 bands."""
PATCH_SAMPLES: Final = (PATCH_HOPS - 1) * HOP_SAMPLES + WINDOW_SAMPLES
"""15,600 samples: the audio of one patch, 0.975 s."""

_HOPS_PER_SECOND: Final = SAMPLE_RATE_HZ // HOP_SAMPLES
_HOP_DIGITS: Final = 6
"""Decimals of a hop to which a time is exact: 5.005 s are 500.49999999999994 hops as floats."""


def patch_start_hop(time_seconds: float) -> int:
    """Return the 10 ms hop nearest to a frame's time, where its patch starts; halves round down.

    Every sixth frame of 24 a second lies half-way between two hops. The public pipelines start
    patch i at round(i * (1 / fps * 100)), which is below the half at 24 and 48 frames a second.
    """
    return math.ceil(round(_HOPS_PER_SECOND * time_seconds, _HOP_DIGITS) - 0.5)
