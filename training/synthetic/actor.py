"""Actor: appearance and voice of a synthetic person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from training.synthetic.speech import Timbre

Colour = tuple[float, float, float]
"""Linear RGB reflectance in [0, 1]."""

_SKIN_COLOURS: Final[tuple[Colour, ...]] = (
    (0.78, 0.52, 0.40),
    (0.70, 0.44, 0.32),
    (0.58, 0.34, 0.23),
    (0.42, 0.23, 0.15),
    (0.26, 0.135, 0.085),
    (0.16, 0.08, 0.05),
)
_HAIR_COLOURS: Final[tuple[Colour, ...]] = (
    (0.018, 0.014, 0.012),
    (0.05, 0.028, 0.016),
    (0.13, 0.065, 0.03),
    (0.36, 0.23, 0.10),
    (0.24, 0.075, 0.025),
    (0.40, 0.39, 0.38),
)
_IRIS_COLOURS: Final[tuple[Colour, ...]] = (
    (0.09, 0.045, 0.02),
    (0.19, 0.11, 0.04),
    (0.10, 0.19, 0.28),
    (0.11, 0.20, 0.11),
)
_CLOTHES_COLOURS: Final[tuple[Colour, ...]] = (
    (0.05, 0.11, 0.20),
    (0.28, 0.05, 0.06),
    (0.06, 0.16, 0.12),
    (0.10, 0.10, 0.12),
    (0.45, 0.38, 0.26),
)
_WALL_COLOURS: Final[tuple[Colour, ...]] = (
    (0.20, 0.27, 0.33),
    (0.33, 0.27, 0.20),
    (0.18, 0.26, 0.21),
    (0.28, 0.24, 0.32),
)

_RIM_COLOURS: Final[tuple[Colour, ...]] = (
    (0.01, 0.01, 0.012),
    (0.10, 0.04, 0.02),
    (0.35, 0.30, 0.22),
    (0.05, 0.06, 0.12),
)
_LOW_VOICE: Final = 0.5
"""Voices below are deep; only their actors can have beards or bald heads."""
_DARK_SKIN_TONE: Final = 2.5
"""Skin tones above have dark hair and irises."""
_BALD_SHARE: Final = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Appearance and voice of a person. Lengths are in half head heights."""

    skin: Colour
    hair: Colour
    iris: Colour
    clothes: Colour
    room: Colour
    room_brightness: float
    furniture: int
    stripes: float
    """Contrast of the shirt's stripes."""
    face_width: float
    chin_length: float
    jaw_width: float
    """0 is a pointed chin, 1 a square jaw."""
    eye_distance: float
    eye_size: float
    eye_slant: float
    brow_weight: float
    brow_arch: float
    nose_length: float
    nose_width: float
    mouth_width: float
    lip_fullness: float
    lip_redness: float
    hair_length: float
    """0 is cropped, 1 reaches the shoulders."""
    parting: float
    hairline: float
    """Higher values show more forehead."""
    curl: float
    baldness: float
    """1 is bald."""
    beard: float
    freckles: float
    tiredness: float
    spectacles: float
    """Thickness of the rims; 0 is no spectacles."""
    rims: Colour
    marks_seed: int
    """Seed of scattered details: freckles, hairs, furniture."""
    light_azimuth: float
    """Radians; negative is a lamp on the left of the image."""
    light_warmth: float
    timbre: Timbre

    @classmethod
    def from_seed(cls, seed: int) -> Self:
        """Draw a person from the whole range of appearances."""
        random = np.random.default_rng(seed)

        def between(low: float, high: float) -> float:
            return float(random.uniform(low, high))

        def one_of(choices: tuple[Colour, ...]) -> Colour:
            return choices[int(random.integers(len(choices)))]

        def at_times(share: float, low: float, high: float) -> float:
            """Draw between low and high for this share of actors, 0 for the others."""
            value = between(low, high)
            return value if random.random() < share else 0.0

        skin_tone = random.uniform(0, len(_SKIN_COLOURS) - 1)
        voice = float(random.uniform(0, 1))
        is_low_voice = voice < _LOW_VOICE
        is_dark_skin = skin_tone > _DARK_SKIN_TONE
        bearded = 0.45 if is_low_voice else 0.0
        return cls(
            skin=_interpolate_skin(float(skin_tone)),
            hair=_vary_colour(one_of(_HAIR_COLOURS[: 3 if is_dark_skin else None]), random, 0.06),
            iris=one_of(_IRIS_COLOURS[: 2 if is_dark_skin else None]),
            clothes=_vary_colour(one_of(_CLOTHES_COLOURS), random, 0.35),
            room=_vary_colour(one_of(_WALL_COLOURS), random, 0.16),
            room_brightness=between(0.3, 1.35),
            furniture=int(random.integers(0, 6)),
            stripes=at_times(0.3, 0.4, 1.0),
            face_width=between(0.66, 0.82),
            chin_length=between(0.95, 1.05),
            jaw_width=between(0.05, 0.95),
            eye_distance=between(0.275, 0.335),
            eye_size=between(0.145, 0.185),
            eye_slant=between(-0.012, 0.040),
            brow_weight=between(0.5, 1.6),
            brow_arch=between(0.02, 0.08),
            nose_length=between(0.34, 0.44),
            nose_width=between(0.11, 0.18),
            mouth_width=between(0.25, 0.34),
            lip_fullness=between(0.6, 1.6),
            lip_redness=between(0.0, 1.2),
            hair_length=between(0.0, 1.0) ** (1.6 if is_low_voice else 0.8),
            parting=between(-0.4, 0.4),
            hairline=between(-0.10, 0.14),
            curl=at_times(0.4, 0.3, 1.0),
            baldness=1.0 if bearded and random.random() < _BALD_SHARE else 0.0,
            beard=at_times(bearded, 0.25, 0.95),
            freckles=at_times(0.3, 0.3, 1.0),
            tiredness=between(0.0, 1.0),
            spectacles=at_times(0.25, 0.1, 1.0),
            rims=one_of(_RIM_COLOURS),
            marks_seed=int(random.integers(1 << 30)),
            light_azimuth=between(0.05, 1.0) * float(random.choice((-1, 1))),
            light_warmth=between(0.0, 1.0),
            timbre=Timbre(
                pitch_hz=92.0 * 2.0 ** (1.25 * voice + between(-0.15, 0.15)),
                formant_scale=0.97 + 0.20 * voice + between(-0.02, 0.02),
                breathiness=between(-0.06, 0.10),
                tilt=between(0.75, 1.15),
            ),
        )


def _vary_colour(colour: Colour, random: np.random.Generator, share: float) -> Colour:
    """Vary a colour randomly."""
    red, green, blue = (float(each * np.exp(random.normal(0, share))) for each in colour)
    return red, green, blue


def _interpolate_skin(tone: float) -> Colour:
    lower = min(int(tone), len(_SKIN_COLOURS) - 2)
    share = tone - lower
    red, green, blue = (
        (1 - share) * light + share * dark
        for light, dark in zip(_SKIN_COLOURS[lower], _SKIN_COLOURS[lower + 1], strict=True)
    )
    return red, green, blue
