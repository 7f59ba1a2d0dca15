"""Identities of a clip: the person of each track, and the gallery of those out of the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array
from service.domain.clip import FaceBox
from service.faces.appearance import AppearanceModel
from service.faces.detections import AppearanceSample, GallerySnapshot, IdentitySnapshot

MATCH_DISTANCE: Final = 1.7
"""Limit of the appearance distance of a face to its person, in standard deviations."""
NEARBY_MATCH_DISTANCE: Final = 3.0
"""Limit of that distance near where the person was just lost."""
RECENT_PICTURES: Final = 60
"""Pictures for which the position of a lost person is of use."""
NEARBY_SIDES: Final = 0.8
"""Limit of the distance to the predicted position, in face sides."""
_MOTION_LEARNING_RATE: Final = 0.3
_MAX_PREDICTED_PICTURES: Final = 20
_POSITION_WEIGHT: Final = 0.4
_MAX_DISTANCE_SIDES: Final = 3.0
MAX_GALLERY_SIZE: Final = 64
"""Identities in the gallery."""
SAME_FACE_OVERLAP: Final = 0.5
"""Boxes that share more of the smaller one are one face."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmatchedFace:
    """A new face that belongs to no active track."""

    box: FaceBox
    appearance: AppearanceSample


@dataclass(slots=True, kw_only=True, eq=False)
class Identity:
    """The person of a track: appearance and last position.

    pictures: number of pictures with the person. box: in the last of them; motion: (2,) pixels of
    its centre from picture to picture.
    is_position_valid: whether the scene is still the one of the last position.
    """

    track: int
    box: FaceBox
    last_picture: int
    pictures: int = 0
    is_position_valid: bool = True
    motion: Float32Array = field(default_factory=lambda: np.zeros(2, np.float32))
    appearance: AppearanceModel = field(default_factory=AppearanceModel)

    def leave_scene(self, last_picture: int) -> None:
        """Settle the appearance as of the last picture of a scene; its places are void."""
        self.is_position_valid = False
        self.appearance.leave_scene(last_picture)

    def update_position(self, box: FaceBox, picture: int) -> None:
        """Record the position in a picture."""
        if self.pictures and picture == self.last_picture + 1:
            step = compute_centre(box) - compute_centre(self.box)
            self.motion += np.float32(_MOTION_LEARNING_RATE) * (step - self.motion)
        self.box, self.last_picture, self.is_position_valid = box, picture, True
        self.pictures += 1

    def snapshot(self) -> IdentitySnapshot:
        """Return the state."""
        return IdentitySnapshot(
            track=self.track,
            box=self.box,
            last_picture=self.last_picture,
            pictures=self.pictures,
            is_position_valid=self.is_position_valid,
            motion=self.motion.copy(),
            appearance=self.appearance.snapshot(),
        )

    @staticmethod
    def from_snapshot(snapshot: IdentitySnapshot) -> Identity:
        """Make an identity that continues from a snapshot."""
        return Identity(
            track=snapshot.track,
            box=snapshot.box,
            last_picture=snapshot.last_picture,
            pictures=snapshot.pictures,
            is_position_valid=snapshot.is_position_valid,
            motion=snapshot.motion.copy(),
            appearance=AppearanceModel(snapshot.appearance),
        )

    def matching_cost(self, face: UnmatchedFace, picture: int) -> float:
        """Cost of matching the face to this person; infinite where it cannot be theirs."""
        sides = self._distance_in_sides(face.box, picture)
        pictures_absent = picture - self.last_picture
        is_nearby = (
            self.is_position_valid and pictures_absent <= RECENT_PICTURES and sides < NEARBY_SIDES
        )
        # In one light other colours mean another person, unless somebody was just lost there.
        is_strict = self.appearance.is_light_known and not is_nearby
        measure = self.appearance.strict_distance if is_strict else self.appearance.distance
        difference = measure(face.appearance)
        if math.isinf(difference) and is_nearby:
            difference = MATCH_DISTANCE
        elif difference > (NEARBY_MATCH_DISTANCE if is_nearby else MATCH_DISTANCE):
            return math.inf
        fading = math.exp(-pictures_absent / RECENT_PICTURES) if self.is_position_valid else 0.0
        return difference + _POSITION_WEIGHT * min(sides, _MAX_DISTANCE_SIDES) * fading

    def _distance_in_sides(self, box: FaceBox, picture: int) -> float:
        """Distance of a face to the predicted position or the last one, in sides of this one."""
        ahead = min(picture - self.last_picture, _MAX_PREDICTED_PICTURES)
        away = compute_centre(box) - compute_centre(self.box)
        nearest = min(np.hypot(*away), np.hypot(*(away - ahead * self.motion)))
        return float(nearest) / max(self.box.width, self.box.height, 1.0)


class Gallery:
    """Identities that are out of the picture; those absent longest are dropped."""

    def __init__(self) -> None:
        self._identities: dict[int, Identity] = {}
        self._track_count = 0

    def snapshot(self) -> GallerySnapshot:
        """Return the state."""
        identities = tuple(each.snapshot() for each in self._identities.values())
        return GallerySnapshot(identities=identities, track_count=self._track_count)

    def restore(self, snapshot: GallerySnapshot) -> None:
        """Continue from a snapshot."""
        self._identities = {
            each.track: Identity.from_snapshot(each) for each in snapshot.identities
        }
        self._track_count = snapshot.track_count

    def add(self, identity: Identity) -> None:
        """Add the identity of a lost track."""
        self._identities[identity.track] = identity
        if len(self._identities) > MAX_GALLERY_SIZE:
            del self._identities[
                min(self._identities.values(), key=lambda each: each.last_picture).track
            ]

    def leave_scene(self, last_picture: int) -> None:
        """Void the last positions and the light, after a cut."""
        for identity in self._identities.values():
            identity.leave_scene(last_picture)

    def match(self, faces: Sequence[UnmatchedFace], picture: int) -> list[Identity]:
        """Match the new faces of a picture to identities; each is one of the gallery, or new."""
        costs = {
            (row, track): identity.matching_cost(face, picture)
            for row, face in enumerate(faces)
            for track, identity in self._identities.items()
        }
        matched: dict[int, Identity] = {}
        for row, track in sorted(costs, key=costs.__getitem__):
            if (
                math.isfinite(costs[row, track])
                and row not in matched
                and track in self._identities
            ):
                matched[row] = self._identities.pop(track)
        return [
            matched.get(row) or self._create_identity(face, picture)
            for row, face in enumerate(faces)
        ]

    def reidentify(self, appearance: AppearanceSample, *, below: float) -> Identity | None:
        """Remove and return the identity closest to an appearance; None: none within `below`."""
        distances = {
            track: identity.appearance.distance(appearance)
            for track, identity in self._identities.items()
        }
        closest = min(distances, key=distances.__getitem__, default=None)
        if closest is None or distances[closest] > min(below, MATCH_DISTANCE):
            return None
        return self._identities.pop(closest)

    def _create_identity(self, face: UnmatchedFace, picture: int) -> Identity:
        self._track_count += 1
        return Identity(track=self._track_count, box=face.box, last_picture=picture)


def compute_centre(box: FaceBox) -> Float32Array:
    """Compute the centre of a box, (2,) pixels."""
    return np.array([box.left + box.width / 2, box.top + box.height / 2], dtype=np.float32)


def compute_iou(one: FaceBox, other: FaceBox) -> float:
    """Compute the intersection over union of two boxes."""
    area, other_area = one.width * one.height, other.width * other.height
    shared = compute_overlap(one, other) * min(area, other_area)
    return shared / max(area + other_area - shared, 1e-9)


def compute_overlap(one: FaceBox, other: FaceBox) -> float:
    """Compute the shared area of two boxes, as a share of the smaller."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    smaller = min(one.width * one.height, other.width * other.height)
    return max(width, 0.0) * max(height, 0.0) / max(smaller, 1e-9)
