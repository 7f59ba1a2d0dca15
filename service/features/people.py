"""A person of a clip, and whether a face is theirs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np

from service.domain.arrays import Floats
from service.domain.clip import FaceBox
from service.domain.state import State
from service.features.appearance import Profile

RESEMBLES: Final = 1.7
"""A face that differs less from a person, in spreads, is theirs."""
RESEMBLES_NEARBY: Final = 2.6
"""The same where they have just been lost."""
RECENT_PICTURES: Final = 30
NEARBY_SIDES: Final = 0.8
"""Face sides from where someone is expected."""
_LEARN_MOTION: Final = 0.3
_MAX_PICTURES_AHEAD: Final = 20
_WEIGHT_OF_PLACE: Final = 0.4
_MAX_SIDES: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """A face that nobody followed to where it is."""

    box: FaceBox
    description: Floats


@dataclass(slots=True, kw_only=True, eq=False)
class Person:
    """A track: its looks and where it was last.

    box: in the last picture with it. motion: (2,) pixels of its middle from picture to picture.
    is_placed: whether the picture still shows the same scene.
    """

    track: int
    box: FaceBox
    last_picture: int
    pictures: int = 0
    is_placed: bool = True
    motion: Floats = field(default_factory=lambda: np.zeros(2, np.float32))
    profile: Profile = field(default_factory=Profile)

    def move(self, box: FaceBox, picture: int) -> None:
        """It is here in this picture."""
        if self.pictures and picture == self.last_picture + 1:
            step = middle_of(box) - middle_of(self.box)
            self.motion += np.float32(_LEARN_MOTION) * (step - self.motion)
        self.box, self.last_picture, self.is_placed = box, picture, True
        self.pictures += 1

    def save(self) -> State:
        """All that is known of it."""
        return {
            "track": self.track,
            "box": asdict(self.box),
            "last_picture": self.last_picture,
            "pictures": self.pictures,
            "is_placed": self.is_placed,
            "motion": self.motion,
            "profile": self.profile.save(),
        }

    @staticmethod
    def of(state: State) -> Person:
        """The same again."""
        known: State = {"box": FaceBox(**state["box"]), "profile": Profile.of(state["profile"])}
        return Person(**state | known)

    def cost(self, face: Newcomer, picture: int) -> float:
        """The cost of taking the face for this person's: infinite where it cannot be."""
        difference = self.profile.difference(face.description)
        sides = self._sides_away(face.box, picture)
        gone = picture - self.last_picture
        is_nearby = self.is_placed and gone <= RECENT_PICTURES and sides < NEARBY_SIDES
        if math.isinf(difference) and is_nearby:
            difference = RESEMBLES
        elif difference > (RESEMBLES_NEARBY if is_nearby else RESEMBLES):
            return math.inf
        fading = math.exp(-gone / RECENT_PICTURES) if self.is_placed else 0.0
        return difference + _WEIGHT_OF_PLACE * min(sides, _MAX_SIDES) * fading

    def _sides_away(self, box: FaceBox, picture: int) -> float:
        """How far a face is from where this one is expected, in its own sides."""
        ahead = min(picture - self.last_picture, _MAX_PICTURES_AHEAD)
        expected = middle_of(self.box) + ahead * self.motion
        side = max(self.box.width, self.box.height, 1.0)
        return float(np.hypot(*(middle_of(box) - expected))) / side


def middle_of(box: FaceBox) -> Floats:
    """(2,) pixels."""
    return np.array([box.left + box.width / 2, box.top + box.height / 2], dtype=np.float32)


def overlap_of(one: FaceBox, other: FaceBox) -> float:
    """The shared area of two boxes, as a share of the smaller."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    smaller = min(one.width * one.height, other.width * other.height)
    return max(width, 0.0) * max(height, 0.0) / max(smaller, 1e-9)
