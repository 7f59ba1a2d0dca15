"""A person of a clip, and whether a face is theirs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array
from service.domain.clip import FaceBox
from service.domain.snapshot_codec import State
from service.faces.appearance import AppearanceModel

MATCH_DISTANCE: Final = 1.7
"""A face that differs less from a person, in spreads, is theirs."""
NEARBY_MATCH_DISTANCE: Final = 2.6
"""The same where they have just been lost."""
RECENT_PICTURES: Final = 30
NEARBY_SIDES: Final = 0.8
"""Face sides from where someone is expected."""
_MOTION_LEARNING_RATE: Final = 0.3
_MAX_PREDICTED_PICTURES: Final = 20
_POSITION_WEIGHT: Final = 0.4
_MAX_DISTANCE_SIDES: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmatchedFace:
    """A face that nobody followed to where it is."""

    box: FaceBox
    description: Float32Array


@dataclass(slots=True, kw_only=True, eq=False)
class Identity:
    """A track: its looks and where it was last.

    box: in the last picture with it. motion: (2,) pixels of its middle from picture to picture.
    is_placed: whether the picture still shows the same scene.
    """

    track: int
    box: FaceBox
    last_picture: int
    pictures: int = 0
    is_position_valid: bool = True
    motion: Float32Array = field(default_factory=lambda: np.zeros(2, np.float32))
    appearance: AppearanceModel = field(default_factory=AppearanceModel)

    def update_position(self, box: FaceBox, picture: int) -> None:
        """It is here in this picture."""
        if self.pictures and picture == self.last_picture + 1:
            step = compute_centre(box) - compute_centre(self.box)
            self.motion += np.float32(_MOTION_LEARNING_RATE) * (step - self.motion)
        self.box, self.last_picture, self.is_position_valid = box, picture, True
        self.pictures += 1

    def save(self) -> State:
        """All that is known of it."""
        return {
            "track": self.track,
            "box": asdict(self.box),
            "last_picture": self.last_picture,
            "pictures": self.pictures,
            "is_position_valid": self.is_position_valid,
            "motion": self.motion,
            "appearance": self.appearance.save(),
        }

    @staticmethod
    def from_state(state: State) -> Identity:
        """The same again."""
        known: State = {
            "box": FaceBox(**state["box"]),
            "appearance": AppearanceModel.from_state(state["appearance"]),
        }
        return Identity(**state | known)

    def matching_cost(self, face: UnmatchedFace, picture: int) -> float:
        """The cost of taking the face for this person's: infinite where it cannot be."""
        difference = self.appearance.distance(face.description)
        sides = self._distance_in_sides(face.box, picture)
        pictures_absent = picture - self.last_picture
        is_nearby = (
            self.is_position_valid and pictures_absent <= RECENT_PICTURES and sides < NEARBY_SIDES
        )
        if math.isinf(difference) and is_nearby:
            difference = MATCH_DISTANCE
        elif difference > (NEARBY_MATCH_DISTANCE if is_nearby else MATCH_DISTANCE):
            return math.inf
        fading = math.exp(-pictures_absent / RECENT_PICTURES) if self.is_position_valid else 0.0
        return difference + _POSITION_WEIGHT * min(sides, _MAX_DISTANCE_SIDES) * fading

    def _distance_in_sides(self, box: FaceBox, picture: int) -> float:
        """How far a face is from where this one is expected, in its own sides."""
        ahead = min(picture - self.last_picture, _MAX_PREDICTED_PICTURES)
        expected = compute_centre(self.box) + ahead * self.motion
        side = max(self.box.width, self.box.height, 1.0)
        return float(np.hypot(*(compute_centre(box) - expected))) / side


def compute_centre(box: FaceBox) -> Float32Array:
    """(2,) pixels."""
    return np.array([box.left + box.width / 2, box.top + box.height / 2], dtype=np.float32)


def compute_overlap(one: FaceBox, other: FaceBox) -> float:
    """The shared area of two boxes, as a share of the smaller."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    smaller = min(one.width * one.height, other.width * other.height)
    return max(width, 0.0) * max(height, 0.0) / max(smaller, 1e-9)
