"""Appearance of a person by colours, proportions and structure, for re-identification in a clip.

There is no network for identities: the traits are the colours of skin, hair, chin and clothes,
and the two proportions of the mesh that differ most between people; the structure of the face is
light and dark whatever the light. They distinguish the people of one clip, and are good for
nothing beyond it.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from service.domain.array_types import Float32Array, Int64Array
from service.domain.planar_picture import PlanarPicture
from service.faces.detections import AppearanceSample, AppearanceSnapshot, PendingSample
from service.faces.scene_light import SceneLight
from service.faces.structure import FaceStructure, measure_structure

TRAIT_STDS: Final[Float32Array] = np.array(
    [5.0, 1.5, 1.5, 5.0, 8.0, 2.5, 3.0, 9.0, 3.0, 4.0, 0.03, 0.02], dtype=np.float32
)
"""Standard deviation of each trait in one person: skin (L, a, b), chin minus skin (L), hair,
clothes (L, a, b each), log of face width over eye distance, log of the nose's share of the upper
face. Measured on drawn and filmed faces that move, turn and speak, rounded up for changing
light."""
_MAX_DEVIATION: Final = 4.0
"""Limit of one trait's deviation, as behind a hand, in standard deviations."""
_MIN_TRAITS: Final = 6
_MIN_LEARNING_RATE: Final = 1 / 20
_CHANGED_LEARNING_RATE: Final = 1 / 3
_CHANGED_DISTANCE: Final = 1.7
"""A person whose colours differ by more is under other light, which is learnt faster."""
PENDING_PICTURES: Final = 60
"""Pictures until an observation is learnt: a dissolve to somebody else may be under way."""
DISCARDED_PICTURES: Final = 12
"""Pictures before a face was lost whose observations are not learnt: it may have been covered."""
NEUTRAL_SIMILARITY: Final = 0.5
"""Similarity of structures that is no evidence."""
_SIMILARITY_WEIGHT: Final = 3.5
"""Standard deviations of the traits for which a similarity of 1 counts."""
_MAX_SIMILARITY_BONUS: Final = 2.0
_MAX_SIMILARITY_MALUS: Final = 0.9
_OTHER_POSE_MALUS: Final = 0.35
"""A face that looks another way is less similar, whoever it is."""
_UNSEEN_DISTANCE: Final = 1.7
"""Distance of the traits where too few are seen, if the structure is known."""
_NEW_STRUCTURE_SIMILARITY: Final = 0.7
_MAX_STRUCTURES: Final = 5

COLOUR_CHANGE_THRESHOLD: Final = 10.0
"""Mean change of colours, of 255, beyond that of the light, that may be a change of face."""
_SAMPLE_POINTS: Final = np.array(
    [10, 151, 9, 6, 1, 50, 280, 205, 425, 199, 152, 105, 334, 70, 300, 234, 454, 61, 291, 58, 288]
)
"""Mesh points all over the face."""

_TOP, _CHIN_END = 10, 152
_SKIN: Final = (151, 50, 280)
_CHIN: Final = 199
_HAIR: Final = (0.10, 0.18)
"""Places above the face, in face heights."""
_CLOTHES: Final = ((0.45, 0.0), (0.7, 0.0), (0.6, 0.45), (0.6, -0.45))
"""Places below the chin and to its sides, in face heights."""
_SPOT_HALF_SIDE: Final = 0.03
"""Half a side of what is averaged for a colour, in face heights."""


def describe_appearance(
    picture: PlanarPicture, points: Float32Array, light: SceneLight
) -> AppearanceSample:
    """Measure the appearance of the person with this (468, 2) mesh.

    Args: light: of the scene.
    """
    colours, proportions = _sample_spots(picture, points), _measure_proportions(points)
    if not light.is_known:
        colours = np.full_like(colours, np.nan)
    return AppearanceSample(
        traits=_make_traits(colours, proportions),
        scene_traits=_make_traits(light.normalise(colours), proportions),
        structure=measure_structure(picture, points),
    )


def _sample_spots(picture: PlanarPicture, points: Float32Array) -> Float32Array:
    """Sample (10, 3) colours of skin, chin, hair and clothes; NaN outside the picture."""
    spots = np.concatenate([points[[*_SKIN, _CHIN]], _locate_hair_and_clothes(points)])
    height = float(np.hypot(*(points[_TOP] - points[_CHIN_END])))
    return _average_colours(picture, spots, _SPOT_HALF_SIDE * height)


def _locate_hair_and_clothes(points: Float32Array) -> Float32Array:
    """Locate (6, 2) points: 2 of the hair, 4 of the clothes."""
    up = points[_TOP] - points[_CHIN_END]
    across = np.array([-up[1], up[0]])
    hair = [points[_TOP] + far * up for far in _HAIR]
    clothes = [points[_CHIN_END] - down * up + side * across for down, side in _CLOTHES]
    return np.array([*hair, *clothes], dtype=np.float32)


def _make_traits(spots: Float32Array, proportions: Float32Array) -> Float32Array:
    """Make the (12,) traits of (10, 3) RGB colours and the proportions; NaN where unseen."""
    colours = _to_lab(spots)
    skin = colours[:3].mean(axis=0)
    traits = [
        skin,
        colours[3, :1] - skin[0],
        _median_colour(colours[4:6]),
        _median_colour(colours[6:]),
    ]
    return np.concatenate([*traits, proportions]).astype(np.float32)


def sample_colours(picture: PlanarPicture, points: Float32Array) -> Int64Array:
    """Sample (21, 3) colours at points of the mesh; they change when the face does."""
    places = np.rint(points[_SAMPLE_POINTS]).astype(np.int64)
    height, width = picture.shape
    columns, rows = places[:, 0].clip(0, width - 1), places[:, 1].clip(0, height - 1)
    return picture.sample(rows, columns).astype(np.int64)


class AppearanceModel:
    """A person's traits, averaged from picture to picture, and structures of their face."""

    def __init__(self, snapshot: AppearanceSnapshot | None = None) -> None:
        """Create an empty model, or continue from a snapshot.

        Args: snapshot: to continue from; None: nothing was observed.
        """
        self._traits: Float32Array = np.full(len(TRAIT_STDS), np.nan, np.float32)
        self._observations: Int64Array = np.zeros(len(TRAIT_STDS), np.int64)
        self._scene_traits: Float32Array = np.full(len(TRAIT_STDS), np.nan, np.float32)
        """The same without the light of the scene."""
        self._structures: list[FaceStructure] = []
        self._pending: list[PendingSample] = []
        if snapshot is not None:
            self._traits, self._observations = snapshot.traits, snapshot.observations
            self._scene_traits = snapshot.scene_traits
            self._structures, self._pending = [*snapshot.structures], [*snapshot.pending]

    def snapshot(self) -> AppearanceSnapshot:
        """Return the state."""
        return AppearanceSnapshot(
            traits=self._traits,
            observations=self._observations,
            scene_traits=self._scene_traits,
            structures=tuple(self._structures),
            pending=tuple(self._pending),
        )

    def observe(self, sample: AppearanceSample, picture: int) -> None:
        """Learn from one more observation, the first at once, others after a while."""
        if sample.structure is None:
            return
        if not self._structures:
            self._learn(sample)
            return
        if not self.is_light_known:
            self._scene_traits = sample.scene_traits
        self._pending.append(PendingSample(picture=picture, sample=sample))
        while self._pending[0].picture <= picture - PENDING_PICTURES:
            self._learn(self._pending.pop(0).sample)

    def settle(self, last_picture: int) -> None:
        """Learn from the observations up to a picture at once, and drop the later ones."""
        for each in self._pending:
            if each.picture <= last_picture:
                self._learn(each.sample)
        self._pending.clear()

    def distance(self, sample: AppearanceSample) -> float:
        """Distance to an appearance in standard deviations; infinite where too little is seen.

        That of the traits, less where the structures are similar and more where they are not.
        Those of one person stay below 1.5 as a rule, and far below where they look the same way.
        """
        return self._distance(sample, _MAX_SIMILARITY_BONUS)

    def strict_distance(self, sample: AppearanceSample) -> float:
        """Distance for which no similarity of structures makes up for other colours."""
        return self._distance(sample, 0.0)

    def _distance(self, sample: AppearanceSample, max_bonus: float) -> float:
        if sample.structure is None:
            return float("inf")
        distance = min(
            _trait_distance(sample.traits, self._traits),
            _trait_distance(sample.scene_traits, self._scene_traits),
        )
        if not self._structures:
            return distance
        similarity = self.similarity(sample)
        evidence = _SIMILARITY_WEIGHT * (NEUTRAL_SIMILARITY - similarity)
        is_comparable = any(each.is_comparable(sample.structure) for each in self._structures)
        max_malus = _MAX_SIMILARITY_MALUS if is_comparable else _OTHER_POSE_MALUS
        bounded = float(np.clip(evidence, -max_bonus, max_malus))
        return (distance if np.isfinite(distance) else _UNSEEN_DISTANCE) + bounded

    @property
    def is_light_known(self) -> bool:
        """True in a scene whose light is known and can be taken out."""
        return bool(np.isfinite(self._scene_traits).any())

    def leave_scene(self, last_picture: int) -> None:
        """Learn from the observations up to the last picture of a scene; forget its light."""
        self.settle(last_picture)
        self._scene_traits = np.full_like(self._scene_traits, np.nan)

    def similarity(self, sample: AppearanceSample) -> float:
        """Similarity to the most similar structure; -1 where none is known."""
        structure = sample.structure
        if structure is None:
            return -1.0
        return max((each.similarity(structure) for each in self._structures), default=-1.0)

    def _learn(self, sample: AppearanceSample) -> None:
        """Average in one more observation; old ones fade."""
        distance = _trait_distance(sample.traits, self._traits)
        has_changed = np.isfinite(distance) and distance > _CHANGED_DISTANCE
        self._observations = self._observations + np.isfinite(sample.traits)
        floor = _CHANGED_LEARNING_RATE if has_changed else _MIN_LEARNING_RATE
        rate = np.maximum(1 / np.maximum(self._observations, 1), floor)
        self._traits = _average(self._traits, sample.traits, rate)
        self._scene_traits = _average(self._scene_traits, sample.scene_traits, rate)
        structure = sample.structure
        if structure is not None and all(
            each.similarity(structure) < _NEW_STRUCTURE_SIMILARITY for each in self._structures
        ):
            self._structures.append(structure)
            del self._structures[:-_MAX_STRUCTURES]


def _average(known: Float32Array, seen: Float32Array, rate: Float32Array) -> Float32Array:
    """Move known traits towards those that are seen."""
    known = np.where(np.isfinite(known), known, seen)
    return np.where(np.isfinite(seen), known + rate * (seen - known), known).astype(np.float32)


def _trait_distance(one: Float32Array, other: Float32Array) -> float:
    """Root mean square of the deviations; infinite where too few are known."""
    deviations = np.abs(one - other) / TRAIT_STDS
    visible = np.isfinite(deviations)
    if visible.sum() < _MIN_TRAITS:
        return float("inf")
    bounded = np.minimum(deviations[visible], _MAX_DEVIATION)
    return float(np.sqrt(np.mean(np.square(bounded))))


def _average_colours(picture: PlanarPicture, spots: Float32Array, half: float) -> Float32Array:
    """Average (K, 3) colours around (K, 2) points; NaN outside the picture."""
    height, width = picture.shape
    means = np.full((len(spots), 3), np.nan, np.float32)
    half = max(half, 0.6)
    if not np.isfinite(spots).all():
        return means
    lows, highs = np.rint(spots - half).astype(int), np.rint(spots + half).astype(int) + 1
    for row, ((left, top), (right, bottom)) in enumerate(zip(lows, highs, strict=True)):
        if left >= 0 and top >= 0 and right <= width and bottom <= height:
            means[row] = cv2.mean(picture.cut(left, top, right, bottom))[:3]
    return means


def _to_lab(colours: Float32Array) -> Float32Array:
    """Convert (K, 3) RGB, of 255, to CIELAB; NaN stays."""
    lab = np.full_like(colours, np.nan)
    known = np.isfinite(colours[:, 0])
    if known.any():
        pixels = colours[known][None] / np.float32(255)
        lab[known] = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[0]
    return lab


def _median_colour(colours: Float32Array) -> Float32Array:
    """Median of the colours that are not NaN."""
    visible = colours[np.isfinite(colours[:, 0])]
    if not len(visible):
        return np.full(3, np.nan, np.float32)
    visible = np.sort(visible, axis=0)
    last = len(visible) - 1
    return (visible[last // 2] + visible[last - last // 2]) / np.float32(2)


def _measure_proportions(points: Float32Array) -> Float32Array:
    eye, other_eye = points[[33, 133]].mean(axis=0), points[[362, 263]].mean(axis=0)
    apart = max(float(np.hypot(*(eye - other_eye))), 1e-3)
    wide = max(float(np.hypot(*(points[234] - points[454]))), 1e-3)
    nose = max(float(np.hypot(*(points[168] - points[2]))), 1e-3)
    long = max(float(np.hypot(*(points[_TOP] - points[2]))), 1e-3)
    return np.log(np.array([wide / apart, nose / long], dtype=np.float32))


def warm_up() -> None:
    """Make OpenCV's colour tables, which takes 50 ms once, so that forks share them."""
    _to_lab(np.zeros((1, 3), np.float32))
