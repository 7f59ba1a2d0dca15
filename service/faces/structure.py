"""Structure of a face or picture: its pattern of light and dark, whatever the light.

The logarithm of the brightness, less its neighbourhood's mean and divided by its neighbourhood's
contrast. Lamps, exposure, white balance, fades and lost colours hardly change it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.model_signatures import CROP_SIDE
from service.domain.planar_picture import PlanarPicture
from service.faces.alignment import ARCFACE_TEMPLATE, estimate_similarity
from service.faces.mesh import select_landmarks

PATTERN_SIDE: Final = 24
"""Pixels of a face's pattern, which shows what its crop shows."""
POSE_TOLERANCE: Final = 0.8
"""Poses that differ by less can be compared."""
_FACE_SIGMA: Final = 5.0
_DARK_LEVELS: Final = 8.0
"""Added to levels of 255: differences in the dark are noise."""
_MIN_CONTRAST: Final = 0.04
"""Contrast, in the logarithm of brightness, below which there is no pattern."""
_MIN_PATTERN_SHARE: Final = 0.15
"""Share of a pattern that must have contrast."""
_LEVELS: Final = 40.0
"""Levels of a stored pattern for each standard deviation, around 128."""
_SAMPLED_SIDE: Final = 2 * PATTERN_SIDE
_PLACES: Final[Float32Array] = ARCFACE_TEMPLATE * np.float32(_SAMPLED_SIDE / CROP_SIDE)
"""The five landmarks in what is sampled."""
_NOSE, _LEFT, _RIGHT, _TOP, _CHIN = 1, 234, 454, 10, 152


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceStructure:
    """Structure of a face.

    pattern: (24, 24) uint8. pose: (2,), the logarithms of the nose's distances to both sides, and
    to top and chin.
    """

    pattern: UInt8Array
    pose: Float32Array

    def similarity(self, other: FaceStructure) -> float:
        """Correlation of the patterns, in [-1, 1].

        Pictures of one talking face correlate by 0.5 to 1.0, those of two people by 0.4 at most
        where they are filmed, and by up to 0.75 where they are drawn in one style.
        """
        return correlate(_expand(self.pattern), _expand(other.pattern))

    def is_comparable(self, other: FaceStructure) -> bool:
        """Return whether both faces look the same way."""
        return float(np.abs(self.pose - other.pose).max()) < POSE_TOLERANCE


def measure_structure(picture: PlanarPicture, points: Float32Array) -> FaceStructure | None:
    """Measure the face with this (468, 2) mesh; None: it has no contrast, as when all is white."""
    matrix = estimate_similarity(select_landmarks(points), _PLACES)
    sampled = picture.warp_luma(matrix, _SAMPLED_SIDE)
    small = cv2.resize(sampled, (PATTERN_SIDE, PATTERN_SIDE), interpolation=cv2.INTER_AREA)
    pattern = extract_pattern(small.astype(np.uint8, copy=False), sigma=_FACE_SIGMA)
    if pattern is None:
        return None
    return FaceStructure(pattern=quantise(pattern), pose=_measure_pose(points))


def to_grey(pixels: UInt8Array) -> UInt8Array:
    """Convert (H, W, 3) RGB to the brightness, (H, W)."""
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def extract_pattern(grey: UInt8Array, *, sigma: float) -> Float32Array | None:
    """Extract the pattern of a brightness, (H, W); None: it has no contrast.

    Args: sigma: of the neighbourhood, pixels.
    """
    detail = np.log(grey.astype(np.float32) + np.float32(_DARK_LEVELS))
    detail -= cv2.GaussianBlur(detail, (0, 0), sigma)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), sigma))
    if np.count_nonzero(contrast > _MIN_CONTRAST) < _MIN_PATTERN_SHARE * contrast.size:
        return None
    return (detail / (contrast + np.float32(_MIN_CONTRAST))).astype(np.float32)


def quantise(pattern: Float32Array) -> UInt8Array:
    """Round a pattern to 255 levels; its correlations stay."""
    return np.clip(np.rint(128 + _LEVELS * pattern), 0, 255).astype(np.uint8)


def correlate(one: Float32Array, other: Float32Array) -> float:
    """Correlation of two patterns of one shape, in [-1, 1]."""
    one, other = one.ravel(), other.ravel()
    one, other = one - one.sum() / one.size, other - other.sum() / other.size
    norm = math.sqrt(float(one @ one) * float(other @ other))
    return float(one @ other) / max(norm, 1e-6)


def _expand(pattern: UInt8Array) -> Float32Array:
    return pattern.astype(np.float32) - np.float32(128)


def _measure_pose(points: Float32Array) -> Float32Array:
    nose = points[_NOSE]
    left, right, top, chin = (
        max(math.dist(nose, points[each]), 1e-3) for each in (_LEFT, _RIGHT, _TOP, _CHIN)
    )
    return np.array([math.log(left / right), math.log(top / chin)], dtype=np.float32)
