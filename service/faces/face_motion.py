"""Motion of a face from the picture in which it was measured to the next one.

A still face is followed by the brightness of its region, which costs a fifth of the mesh. What
moves or changes more than a little is measured.

Source: Evangelidis & Psarakis 2008, in OpenCV's `findTransformECC`.
"""

from __future__ import annotations

import math
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
MIN_CORRELATION: Final = 0.997
"""Correlation of two patches of one still face, with the motion taken out."""
MAX_SHIFT: Final = 0.8
"""Limit of a landmark's motion, in pixels of the crop: faces that move more are measured."""
_CRITERIA: Final = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 5, 1e-3)
_BLUR: Final = 3
_EYES_APART: Final = float(ARCFACE_TEMPLATE[1, 0] - ARCFACE_TEMPLATE[0, 0])
"""Distance of the eyes in a crop, pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FacePatch:
    """Brightness of the region of a measured face, (48, 48), by which it is followed."""

    region: Region
    pixels: UInt8Array


def _draw_face_mask() -> UInt8Array:
    mask = np.zeros((PATCH_SIDE, PATCH_SIDE), np.uint8)
    centre, axes = (PATCH_SIDE // 2,) * 2, (round(0.42 * PATCH_SIDE), PATCH_SIDE // 2)
    return cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, -1).astype(np.uint8, copy=False)


_FACE: Final = _draw_face_mask()
"""Pixels of a patch that count, 255: an ellipse."""


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
    moved_mesh = Mesh(points=points, logit=mesh.logit)
    return moved_mesh if is_still(mesh, moved_mesh) else None


def is_still(before: Mesh, after: Mesh) -> bool:
    """Return whether no landmark moved far from one picture to the next."""
    old, new = select_landmarks(before.points), select_landmarks(after.points)
    apart = math.dist(old[0], old[1])
    return (
        math.sqrt(float(np.square(new - old).sum(axis=1).max())) * _EYES_APART <= MAX_SHIFT * apart
    )


def _cut(picture: PlanarPicture, region: Region) -> UInt8Array:
    return picture.warp_luma(make_region_matrix(region, PATCH_SIDE), PATCH_SIDE)


def _estimate_motion(before: UInt8Array, after: UInt8Array) -> Float32Array | None:
    """Estimate the (2, 3) rotation and shift from patch to patch; None: they do not match."""
    motion = np.eye(2, 3, dtype=np.float32)
    try:
        correlation, motion = cv2.findTransformECC(
            before, after, motion, cv2.MOTION_EUCLIDEAN, _CRITERIA, _FACE, _BLUR
        )
    except cv2.error:  # it does not converge
        return None
    is_match = correlation >= MIN_CORRELATION
    return motion.astype(np.float32, copy=False) if is_match else None
