"""Alignment of a face by five points to the 112x112 crop that the visual backbone expects.

Source: the ArcFace template and its similarity alignment (Deng et al. 2019) [L];
the least-squares similarity of Umeyama (1991).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.model_signatures import CROP_SIDE
from service.domain.planar_picture import PlanarPicture

ARCFACE_TEMPLATE: Final[Float32Array] = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float32,
)
"""The five points in a crop, pixels [L]."""


def estimate_similarity(source: Float32Array, target: Float32Array) -> Float32Array:
    """Find the rotation, scale and shift that bring `source` closest to `target`.

    Args: source, target: (K, 2) pixels, K >= 2, not all in one place.
    Returns: (2, 3) float32: target ~ M[:, :2] @ source + M[:, 2].
    Source: Umeyama 1991, without reflections; in the plane that is linear regression.
    """
    points, goals = source.tolist(), target.tolist()
    x, y = (math.fsum(each) / len(points) for each in zip(*points, strict=True))
    goal_x, goal_y = (math.fsum(each) / len(goals) for each in zip(*goals, strict=True))
    norm = along = across = 0.0
    for (left, top), (to_left, to_top) in zip(points, goals, strict=True):
        right, down = left - x, top - y
        norm += right * right + down * down
        along += right * to_left + down * to_top
        across += right * to_top - down * to_left
    along, across = along / norm, across / norm
    shift_x, shift_y = goal_x - along * x + across * y, goal_y - across * x - along * y
    return np.array([[along, -across, shift_x], [across, along, shift_y]], dtype=np.float32)


def align_crop(picture: PlanarPicture | UInt8Array, points: Float32Array) -> UInt8Array:
    """Cut an upright face so that its five points lie on the ArcFace template.

    A face much larger than the crop is shrunk by whole-pixel averages first: bilinear sampling
    alone would skip pixels and let their noise through.

    Args: picture: or (H, W, 3) uint8 RGB; points: (5, 2) float32 pixels of it.
    Returns: (3, 112, 112) uint8 RGB; black where the picture ends.
    """
    matrix = estimate_similarity(points, ARCFACE_TEMPLATE)
    crop = PlanarPicture.of(picture).warp(matrix, CROP_SIDE, averages=True)
    return np.ascontiguousarray(crop.transpose(2, 0, 1))
