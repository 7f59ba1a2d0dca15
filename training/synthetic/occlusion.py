"""Occlusions of the face: kinds, times and motion of hands and objects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from service.domain.array_types import BoolArray
from training.synthetic.actor import Colour
from training.synthetic.trajectory import Doubles

MOVE_SECONDS: Final = 0.14
"""Duration of the motion from outside the image to the face."""
_OBJECT_COLOURS: Final[tuple[Colour, ...]] = (
    (0.30, 0.04, 0.03),
    (0.04, 0.05, 0.07),
    (0.55, 0.55, 0.50),
    (0.05, 0.16, 0.28),
)


class OccluderKind(StrEnum):
    """Kind of an occluder; a mug covers the mouth only, so that the face can still be detected."""

    HAND = "hand"
    THING = "thing"
    MUG = "mug"


@dataclass(frozen=True, slots=True, kw_only=True)
class Occluder:
    """An occluder, visible from `start` for `seconds`, moving in from `side` (-1 or 1)."""

    kind: OccluderKind
    start: float
    seconds: float
    side: int
    tilt: float
    colour: Colour

    def proximity_at(self, seconds: float) -> float:
        """Return 0 outside the image, 1 in front of the face."""
        into, left = seconds - self.start, self.start + self.seconds - seconds
        return float(np.clip(min(into, left) / MOVE_SECONDS + 0.5, 0, 1))

    def hides_face_at(self, times: Doubles) -> BoolArray:
        """Return a (N,) mask of the times at which the face cannot be detected."""
        if self.kind is OccluderKind.MUG:
            return np.zeros(len(times), dtype=np.bool_)
        return (times > self.start) & (times < self.start + self.seconds)


def draw_occluders(
    seconds: float, per_second: float, random: np.random.Generator
) -> tuple[Occluder, ...]:
    """Draw the occluders of a clip, each visible for 0.3 to 1.5 s."""
    starts = np.sort(
        random.uniform(0.3, max(seconds, 0.3), size=random.poisson(per_second * seconds))
    )
    return tuple(
        Occluder(
            kind=OccluderKind(random.choice(["hand", "hand", "thing", "mug"])),
            start=float(start),
            seconds=float(random.uniform(0.3, 1.5)),
            side=int(random.choice((-1, 1))),
            tilt=float(random.uniform(-0.4, 0.4)),
            colour=_OBJECT_COLOURS[int(random.integers(len(_OBJECT_COLOURS)))],
        )
        for start in starts
    )
