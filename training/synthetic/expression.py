"""What a face does at one moment, and what a feeling makes it do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """What the face does at one moment; 0 everywhere is at rest."""

    smile: float = 0.0
    """-1 corners down, 1 corners up."""
    mouth_opening: float = 0.0
    brow_raise: float = 0.0
    brow_frown: float = 0.0
    """Inner ends together and down."""
    brow_sorrow: float = 0.0
    """Inner ends up."""
    lid_opening: float = 1.0
    """0 closed, 1 relaxed, 1.4 wide."""
    cheek_raise: float = 0.0
    blush: float = 0.0
    yaw: float = 0.0
    """Radians, to the picture's right; pitch is downwards, roll clockwise."""
    pitch: float = 0.0
    roll: float = 0.0

    @classmethod
    def of_affect(
        cls, valence: float, arousal: float, *, seconds: float = 0.0, speech: float = 0.0
    ) -> Self:
        """The face of a feeling at a moment; `speech` in [0, 1] is how loud the voice is."""
        gladness, sadness = max(valence, 0.0), max(-valence, 0.0)
        alertness, calm = max(arousal, 0.0), max(-arousal, 0.0)
        liveliness = 0.5 + 0.5 * arousal
        sway = _sway(seconds * (0.7 + 0.2 * liveliness))
        return cls(
            smile=0.12 + 0.88 * valence,
            mouth_opening=min(
                1.0, 0.75 * speech + 0.22 * alertness * (1 - 0.5 * sadness) + 0.08 * gladness
            ),
            brow_raise=0.9 * alertness * (0.4 + 0.6 * gladness) - 0.15 * calm,
            brow_frown=sadness * (0.25 + 0.75 * alertness),
            brow_sorrow=sadness * (1 - alertness),
            lid_opening=(1.0 + 0.30 * alertness - 0.28 * calm - 0.14 * gladness) * _blink(seconds),
            cheek_raise=gladness,
            blush=0.25 + 0.75 * alertness,
            yaw=(0.05 + 0.10 * liveliness) * sway[0],
            pitch=0.05 * calm - 0.03 * gladness + (0.02 + 0.05 * liveliness) * sway[1],
            roll=(0.02 + 0.05 * liveliness) * sway[2],
        )


def _sway(seconds: float) -> tuple[float, float, float]:
    """Three unrelated slow motions in [-1, 1]."""
    return (
        0.6 * math.sin(1.30 * seconds) + 0.4 * math.sin(2.90 * seconds + 1.0),
        0.6 * math.sin(1.70 * seconds + 2.0) + 0.4 * math.sin(3.70 * seconds),
        0.6 * math.sin(0.90 * seconds + 4.0) + 0.4 * math.sin(2.30 * seconds + 2.0),
    )


def _blink(seconds: float) -> float:
    """The lids' opening: a blink of 0.2 s every 3.3 s."""
    since = (seconds + 1.6) % 3.3
    return 1.0 if since >= 0.2 else 1.0 - math.sin(math.pi * since / 0.2)
