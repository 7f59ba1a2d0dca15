"""Motion of a face from the picture in which it was measured to the next one.

A still face is followed by the brightness of its region, which costs a fifth of the mesh. What
moves or changes more than a little is measured.

Source: Evangelidis & Psarakis 2008, in OpenCV's `findTransformECC`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.planar_picture import PlanarPicture
from service.faces.alignment import ARCFACE_TEMPLATE
from service.faces.mesh import Mesh, Region, make_region_matrix, region_from_mesh, select_landmarks

PATCH_SIDE: Final = 48
_PATCH_SHARE: Final = 0.8
"""Side of the patch, as a share of the mesh's region: the face with little around it."""
MIN_CORRELATION: Final = 0.995
"""Correlation of two patches of one still face; talking faces have 0.98."""
MAX_SHIFT: Final = 1.0
"""Limit of a landmark's motion, in pixels of the crop: faces that move more are measured."""
_CRITERIA: Final = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 5, 1e-3)
_BLUR: Final = 3
_ALL: Final[UInt8Array] = np.full((PATCH_SIDE, PATCH_SIDE), 255, np.uint8)
"""Mask of the pixels that count."""
_EYES_APART: Final = float(ARCFACE_TEMPLATE[1, 0] - ARCFACE_TEMPLATE[0, 0])
"""Distance of the eyes in a crop, pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FacePatch:
    """Brightness of the region of a measured face, (48, 48), by which it is followed."""

    region: Region
    pixels: UInt8Array


def cut_patch(picture: PlanarPicture, mesh: Mesh) -> FacePatch:
    """Cut the patch of a face that was measured in this picture."""
    region = region_from_mesh(mesh.points)
    region = replace(region, side=_PATCH_SHARE * region.side)
    return FacePatch(region=region, pixels=_cut(picture, region))


def follow_still(picture: PlanarPicture, patch: FacePatch, mesh: Mesh) -> Mesh | None:
    """Move the mesh of the last picture with the face; None: it is to be measured.

    Args: patch: of the face in the last picture.
    """
    motion = _estimate_motion(patch.pixels, _cut(picture, patch.region))
    if motion is None:
        return None
    to_patch = make_region_matrix(patch.region, PATCH_SIDE)
    back = cv2.invertAffineTransform(to_patch)
    moved = (mesh.points @ to_patch[:, :2].T + to_patch[:, 2]) @ motion[:, :2].T + motion[:, 2]
    points = (moved @ back[:, :2].T + back[:, 2]).astype(np.float32)
    if _measure_shift(select_landmarks(mesh.points), select_landmarks(points)) > MAX_SHIFT:
        return None
    return Mesh(points=points, logit=mesh.logit)


def _cut(picture: PlanarPicture, region: Region) -> UInt8Array:
    return picture.warp_luma(make_region_matrix(region, PATCH_SIDE), PATCH_SIDE)


def _estimate_motion(before: UInt8Array, after: UInt8Array) -> Float32Array | None:
    """Estimate the (2, 3) rotation and shift from patch to patch; None: they do not match."""
    motion = np.eye(2, 3, dtype=np.float32)
    try:
        correlation, motion = cv2.findTransformECC(
            before, after, motion, cv2.MOTION_EUCLIDEAN, _CRITERIA, _ALL, _BLUR
        )
    except cv2.error:  # it does not converge
        return None
    is_match = correlation >= MIN_CORRELATION
    return motion.astype(np.float32, copy=False) if is_match else None


def _measure_shift(before: Float32Array, after: Float32Array) -> float:
    """Largest motion of the (5, 2) landmarks, in pixels of the crop."""
    apart = float(np.hypot(*(before[1] - before[0])))
    return float(np.hypot(*(after - before).T).max()) * _EYES_APART / max(apart, 1e-3)
