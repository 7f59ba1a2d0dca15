"""Hands and things that come between camera and face."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from service.domain.array_types import BoolArray
from training.synthetic.actor import Colour
from training.synthetic.trajectory import Doubles

MOVE_SECONDS: Final = 0.14
"""From out of sight to before the face."""
_OBJECT_COLOURS: Final[tuple[Colour, ...]] = (
    (0.30, 0.04, 0.03),
    (0.04, 0.05, 0.07),
    (0.55, 0.55, 0.50),
    (0.05, 0.16, 0.28),
)


class OccluderKind(StrEnum):
    """What comes before the face; a mouth that is covered leaves a face to be found."""

    HAND = "hand"
    THING = "thing"
    MUG = "mug"


@dataclass(frozen=True, slots=True, kw_only=True)
class Occluder:
    """A hand or thing before the face from `start` for `seconds`, coming from `side` (-1 or 1)."""

    kind: OccluderKind
    start: float
    seconds: float
    side: int
    tilt: float
    colour: Colour

    def proximity_at(self, seconds: float) -> float:
        """0 out of sight, 1 right before the face."""
        into, left = seconds - self.start, self.start + self.seconds - seconds
        return float(np.clip(min(into, left) / MOVE_SECONDS + 0.5, 0, 1))

    def hides_face_at(self, times: Doubles) -> BoolArray:
        """(N,) whether it covers so much that there is no face to be found."""
        if self.kind is OccluderKind.MUG:
            return np.zeros(len(times), dtype=np.bool_)
        return (times > self.start) & (times < self.start + self.seconds)


def draw_occluders(
    seconds: float, per_second: float, random: np.random.Generator
) -> tuple[Occluder, ...]:
    """Some for a clip, each for 0.3 to 1.5 s."""
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
