"""Who is drawn, and what the face does: an actor's looks, and an expression of the moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

Colour = tuple[float, float, float]
"""Linear RGB reflectance in [0, 1]."""

_SKINS: Final[tuple[Colour, ...]] = (
    (0.78, 0.52, 0.40),
    (0.70, 0.44, 0.32),
    (0.58, 0.34, 0.23),
    (0.42, 0.23, 0.15),
    (0.26, 0.135, 0.085),
    (0.16, 0.08, 0.05),
)
_HAIRS: Final[tuple[Colour, ...]] = (
    (0.018, 0.014, 0.012),
    (0.05, 0.028, 0.016),
    (0.13, 0.065, 0.03),
    (0.36, 0.23, 0.10),
    (0.24, 0.075, 0.025),
    (0.40, 0.39, 0.38),
)
_IRISES: Final[tuple[Colour, ...]] = (
    (0.09, 0.045, 0.02),
    (0.19, 0.11, 0.04),
    (0.10, 0.19, 0.28),
    (0.11, 0.20, 0.11),
)
_CLOTHES: Final[tuple[Colour, ...]] = (
    (0.05, 0.11, 0.20),
    (0.28, 0.05, 0.06),
    (0.06, 0.16, 0.12),
    (0.10, 0.10, 0.12),
    (0.45, 0.38, 0.26),
)
_ROOMS: Final[tuple[Colour, ...]] = (
    (0.20, 0.27, 0.33),
    (0.33, 0.27, 0.20),
    (0.18, 0.26, 0.21),
    (0.28, 0.24, 0.32),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A person's looks and voice. Lengths are in half head heights."""

    skin: Colour
    hair: Colour
    iris: Colour
    clothes: Colour
    room: Colour
    face_width: float
    jaw_width: float
    """0 is a pointed chin, 1 a square jaw."""
    eye_distance: float
    eye_size: float
    brow_weight: float
    nose_length: float
    nose_width: float
    mouth_width: float
    lip_fullness: float
    hair_length: float
    """0 is cropped, 1 falls to the shoulders."""
    parting: float
    light_azimuth: float
    """Radians; negative is a lamp on the picture's left."""
    light_warmth: float
    pitch_hz: float
    formant_scale: float
    """Formants relative to an adult male vocal tract."""

    @classmethod
    def of_seed(cls, seed: int) -> Self:
        """A person drawn from the whole range of looks."""
        random = np.random.default_rng(seed)

        def between(low: float, high: float) -> float:
            return float(random.uniform(low, high))

        def one_of(choices: tuple[Colour, ...]) -> Colour:
            return choices[int(random.integers(len(choices)))]

        skin_tone = random.uniform(0, len(_SKINS) - 1)
        voice = random.uniform(0, 1)
        return cls(
            skin=_between_skins(float(skin_tone)),
            hair=one_of(_HAIRS[: 3 if skin_tone > 2.5 else None]),
            iris=one_of(_IRISES[: 2 if skin_tone > 2.5 else None]),
            clothes=one_of(_CLOTHES),
            room=one_of(_ROOMS),
            face_width=between(0.70, 0.78),
            jaw_width=between(0.15, 0.85),
            eye_distance=between(0.285, 0.325),
            eye_size=between(0.155, 0.178),
            brow_weight=between(0.7, 1.3),
            nose_length=between(0.36, 0.43),
            nose_width=between(0.125, 0.16),
            mouth_width=between(0.27, 0.32),
            lip_fullness=between(0.85, 1.4),
            hair_length=between(0.0, 1.0),
            parting=between(-0.35, 0.35),
            light_azimuth=between(0.35, 0.8) * float(random.choice((-1, 1))),
            light_warmth=between(0.0, 1.0),
            pitch_hz=105.0 * 2.0**voice,
            formant_scale=1.0 + 0.17 * float(voice),
        )


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


def _between_skins(tone: float) -> Colour:
    lower = min(int(tone), len(_SKINS) - 2)
    share = tone - lower
    red, green, blue = (
        (1 - share) * light + share * dark
        for light, dark in zip(_SKINS[lower], _SKINS[lower + 1], strict=True)
    )
    return red, green, blue


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
