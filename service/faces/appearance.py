"""Appearance of a person by colours and proportions, for re-identification within one clip.

There is no network for identities: the traits are the colours of skin, hair, chin and clothes,
and the two proportions of the mesh that differ most between people. They distinguish the people
of one clip, and are good for nothing beyond it.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from service.domain.array_types import Float32Array, Int64Array, UInt8Array
from service.faces.detections import AppearanceSnapshot

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
_MIN_OBSERVATIONS: Final = 3
_MIN_LEARNING_RATE: Final = 1 / 20

COLOUR_CHANGE_THRESHOLD: Final = 14.0
"""Mean change of a face's colours from picture to picture, of 255, that may be a change of face."""
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


def describe_appearance(picture: UInt8Array, points: Float32Array) -> Float32Array:
    """Measure the (12,) traits of the person with this (468, 2) mesh; NaN outside the picture."""
    up = points[_TOP] - points[_CHIN_END]
    across = np.array([-up[1], up[0]])
    hair = [points[_TOP] + far * up for far in _HAIR]
    clothes = [points[_CHIN_END] - down * up + side * across for down, side in _CLOTHES]
    spots = np.array([*points[[*_SKIN, _CHIN]], *hair, *clothes])
    colours = _average_colours(picture, spots, _SPOT_HALF_SIDE * float(np.hypot(*up)))
    skin = colours[:3].mean(axis=0)
    traits = [
        skin,
        colours[3, :1] - skin[0],
        _median_colour(colours[4:6]),
        _median_colour(colours[6:]),
    ]
    return np.concatenate([*traits, _measure_proportions(points)]).astype(np.float32)


def sample_colours(picture: UInt8Array, points: Float32Array) -> Int64Array:
    """Sample (21, 3) colours at points of the mesh; they change when the face does."""
    places = np.rint(points[_SAMPLE_POINTS]).astype(np.int64)
    height, width = picture.shape[:2]
    columns, rows = places[:, 0].clip(0, width - 1), places[:, 1].clip(0, height - 1)
    return picture[rows, columns].astype(np.int64)


class AppearanceModel:
    """A person's traits, averaged from picture to picture."""

    def __init__(self, snapshot: AppearanceSnapshot | None = None) -> None:
        """Create an empty model, or continue from a snapshot.

        Args: snapshot: to continue from; None: nothing was observed.
        """
        self._traits: Float32Array = np.full(len(TRAIT_STDS), np.nan, np.float32)
        self._observations: Int64Array = np.zeros(len(TRAIT_STDS), np.int64)
        if snapshot is not None:
            self._traits, self._observations = snapshot.traits, snapshot.observations

    @property
    def is_reliable(self) -> bool:
        """True once it is based on several observations."""
        return int(self._observations.max()) >= _MIN_OBSERVATIONS

    def update(self, description: Float32Array) -> None:
        """Average in one more observation; old ones fade."""
        visible = np.isfinite(description)
        self._observations = self._observations + visible
        rate = np.maximum(1 / np.maximum(self._observations, 1), _MIN_LEARNING_RATE)
        known = np.where(np.isfinite(self._traits), self._traits, description)
        learnt = known + rate * (description - known)
        self._traits = np.where(visible, learnt, self._traits).astype(np.float32)

    def snapshot(self) -> AppearanceSnapshot:
        """Return the state."""
        return AppearanceSnapshot(traits=self._traits, observations=self._observations)

    def distance(self, description: Float32Array) -> float:
        """Distance to a description in standard deviations; infinite where too few traits are seen.

        Those of one person stay below 1.5 as a rule; 98 of 100 pairs of people are above 1.7.
        """
        deviations = np.abs(description - self._traits) / TRAIT_STDS
        visible = np.isfinite(deviations)
        if visible.sum() < _MIN_TRAITS:
            return float("inf")
        bounded = np.minimum(deviations[visible], _MAX_DEVIATION)
        return float(np.sqrt(np.mean(np.square(bounded))))


def _average_colours(picture: UInt8Array, spots: Float32Array, half: float) -> Float32Array:
    """Average (K, 3) CIELAB colours around (K, 2) points; NaN outside the picture."""
    height, width = picture.shape[:2]
    means = np.full((len(spots), 3), np.nan, np.float32)
    half = max(half, 0.6)
    if not np.isfinite(spots).all():
        return means
    lows, highs = np.rint(spots - half).astype(int), np.rint(spots + half).astype(int) + 1
    for row, ((left, top), (right, bottom)) in enumerate(zip(lows, highs, strict=True)):
        if left >= 0 and top >= 0 and right <= width and bottom <= height:
            means[row] = cv2.mean(picture[top:bottom, left:right])[:3]
    inside = np.isfinite(means[:, 0])
    if inside.any():
        pixels = means[inside][None] / np.float32(255)
        means[inside] = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[0]
    return means


def _median_colour(colours: Float32Array) -> Float32Array:
    """Median of the colours that are not NaN."""
    visible = colours[np.isfinite(colours[:, 0])]
    if not len(visible):
        return np.full(3, np.nan, np.float32)
    return np.median(visible, axis=0).astype(np.float32)


def _measure_proportions(points: Float32Array) -> Float32Array:
    eye, other_eye = points[[33, 133]].mean(axis=0), points[[362, 263]].mean(axis=0)
    apart = max(float(np.hypot(*(eye - other_eye))), 1e-3)
    wide = max(float(np.hypot(*(points[234] - points[454]))), 1e-3)
    nose = max(float(np.hypot(*(points[168] - points[2]))), 1e-3)
    long = max(float(np.hypot(*(points[_TOP] - points[2]))), 1e-3)
    return np.log(np.array([wide / apart, nose / long], dtype=np.float32))


def warm_up() -> None:
    """Make OpenCV's colour tables, which takes 50 ms once, so that forks share them."""
    describe_appearance(np.zeros((64, 64, 3), np.uint8), np.full((468, 2), 32, np.float32))
