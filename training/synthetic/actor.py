"""Who is drawn: an actor's looks and voice."""

from __future__ import annotations

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


def _between_skins(tone: float) -> Colour:
    lower = min(int(tone), len(_SKINS) - 2)
    share = tone - lower
    red, green, blue = (
        (1 - share) * light + share * dark
        for light, dark in zip(_SKINS[lower], _SKINS[lower + 1], strict=True)
    )
    return red, green, blue
