"""Motion of a face from the picture in which it was measured to the next one.

A still face is followed by the brightness of its region, which costs a fifth of the mesh. What
moves or changes more than a little is measured.

Source: Evangelidis & Psarakis 2008, in OpenCV's `findTransformECC`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.clip import FaceBox
from service.domain.planar_picture import PlanarPicture
from service.faces.alignment import ARCFACE_TEMPLATE
from service.faces.mesh import Mesh, select_landmarks

PATCH_SIDE: Final = 48
_PATCH_SCALE: Final = 1.2
"""Side of the patch, as a multiple of the face's longer side."""
MIN_CORRELATION: Final = 0.993
"""Correlation of two patches of one still face, with the motion taken out."""
MAX_SHIFT: Final = 0.8
"""Limit of a landmark's motion, in pixels of the crop: faces that move more are measured."""
_CRITERIA: Final = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 3, 1e-4)
_BLUR: Final = 1
_EYES_APART: Final = float(ARCFACE_TEMPLATE[1, 0] - ARCFACE_TEMPLATE[0, 0])
"""Distance of the eyes in a crop, pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FacePatch:
    """Brightness of a square around a measured face, (48, 48), by which it is followed.

    left, top, side: in whole pixels of the picture.
    """

    left: int
    top: int
    side: int
    pixels: UInt8Array


def _draw_face_mask() -> UInt8Array:
    mask = np.zeros((PATCH_SIDE, PATCH_SIDE), np.uint8)
    centre, axes = (PATCH_SIDE // 2,) * 2, (round(0.42 * PATCH_SIDE), PATCH_SIDE // 2)
    return cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, -1).astype(np.uint8, copy=False)


_FACE: Final = _draw_face_mask()
"""Pixels of a patch that count, 255: an ellipse."""


def cut_patch(picture: PlanarPicture, box: FaceBox) -> FacePatch | None:
    """Cut the patch of a face that was measured in this picture; None: it is cut off."""
    side = _round_side(_PATCH_SCALE * max(box.width, box.height))
    left = round(box.left + (box.width - side) / 2)
    top = round(box.top + (box.height - side) / 2)
    height, width = picture.shape
    if left < 0 or top < 0 or left + side > width or top + side > height or side < PATCH_SIDE // 2:
        return None
    return FacePatch(left=left, top=top, side=side, pixels=_cut(picture, left, top, side))


def follow_still(picture: PlanarPicture, patch: FacePatch, mesh: Mesh) -> Mesh | None:
    """Move the mesh of the last picture with the face; None: it is to be measured.

    Args: patch: of the face in the last picture.
    """
    after = _cut(picture, patch.left, patch.top, patch.side)
    motion = _estimate_motion(patch.pixels, after)
    if motion is None:
        return None
    scale = PATCH_SIDE / patch.side
    origin = np.array([patch.left, patch.top], np.float32) - np.float32((1 / scale - 1) / 2)
    placed = (mesh.points - origin) * scale
    points = (placed @ motion[:, :2].T + motion[:, 2]) / scale + origin
    moved = Mesh(points=points.astype(np.float32), logit=mesh.logit)
    return moved if is_still(mesh, moved) else None


def is_still(before: Mesh, after: Mesh) -> bool:
    """Return whether no landmark moved far from one picture to the next."""
    old, new = select_landmarks(before.points), select_landmarks(after.points)
    apart = math.dist(old[0], old[1])
    return (
        math.sqrt(float(np.square(new - old).sum(axis=1).max())) * _EYES_APART <= MAX_SHIFT * apart
    )


def _round_side(side: float) -> int:
    """Round the side of a square to one that is halved to three to six patches, then averaged.

    From there it is odd: halves of hardly more than a patch would be scaled unevenly.
    """
    step = 1 << max(0, math.floor(math.log2(max(side, 1.0) / (3 * PATCH_SIDE))))
    return step * (2 * round((side / step - 1) / 2) + 1)


def _cut(picture: PlanarPicture, left: int, top: int, side: int) -> UInt8Array:
    return picture.shrink_luma(left, top, left + side, top + side, (PATCH_SIDE, PATCH_SIDE))


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
