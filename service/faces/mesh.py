"""FaceMesh network: 468 points of the face in a region, and the score that there is one.

Source: Kartynnik et al. 2019; regions as the published graph makes them: a square 1.5 times
the face, rotated so that the eyes are level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from service.domain.array_types import Float32Array
from service.domain.clip import FaceBox
from service.domain.planar_picture import PlanarPicture
from service.faces.detector import Candidate
from service.faces.tflite import MESH_FILE, FaceNetwork

INPUT_SIDE: Final = 192
REGION_SCALE: Final = 1.5
"""A region's side, as a multiple of the face's longer side."""
MIN_LOGIT: Final = 0.0
"""Limit of the logit below which there is no face in the region."""

_EYES: Final = (33, 263)
"""Outer eye corners: they give a region its angle."""
_CORNERS: Final = np.array([33, 362, 1, 61, 291, 133, 263])
"""A corner of each eye, nose tip, mouth corners, and the other corner of each eye."""
_OUTPUTS: Final = ("conv2d_31", "conv2d_21")
"""Face logit, and points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A rotated square of a picture: centre and side in pixels."""

    x: float
    y: float
    side: float
    angle_radians: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """A measured face. points: (468, 2) float32 pixels of the picture.

    logit: evidence for a face, in natural units: 15 to 30 for people, also in small pictures; below
    6 for what is like a face. The score saturates there.
    """

    points: Float32Array
    logit: float

    @property
    def score(self) -> float:
        """Probability of a face, in [0, 1]."""
        return 1.0 / (1.0 + math.exp(-self.logit))


class FaceMesh:
    """FaceMesh network: verifies that a region is a face, and measures its points."""

    def __init__(self, models_dir: Path) -> None:
        """Load the network. Raises: FaceModelsMissing."""
        self._network = FaceNetwork(models_dir, MESH_FILE, _OUTPUTS)

    def measure(self, picture: PlanarPicture, region: Region) -> Mesh | None:
        """Measure the face in a region of the picture; None: there is none."""
        to_input = make_region_matrix(region, INPUT_SIDE)
        cut = picture.warp(to_input, INPUT_SIDE)
        logit, raw = self._network.run(cut)
        mesh_logit = min(max(float(logit.flat[0]), -80.0), 80.0)
        if mesh_logit < MIN_LOGIT:
            return None
        flat = raw.reshape(-1, 3)[:, :2]
        back = cv2.invertAffineTransform(to_input)
        points = flat @ back[:, :2].T + back[:, 2]
        return Mesh(points=points.astype(np.float32), logit=mesh_logit)


def region_from_candidate(face: Candidate) -> Region:
    """Make the region of a face that the detector proposes."""
    x, y = face.left + face.width / 2, face.top + face.height / 2
    side = REGION_SCALE * max(face.width, face.height)
    return Region(x=x, y=y, side=side, angle_radians=_eye_angle_radians(face.eyes[0], face.eyes[1]))


def region_from_mesh(points: Float32Array) -> Region:
    """Make the region of a measured face, for the next picture."""
    angle = _eye_angle_radians(points[_EYES[0]], points[_EYES[1]])
    cos, sin = math.cos(angle), math.sin(angle)
    columns, rows = points.T.astype(np.float64)
    across, down = cos * columns + sin * rows, cos * rows - sin * columns
    left, right, top, bottom = (
        float(each) for each in (across.min(), across.max(), down.min(), down.max())
    )
    x, y = (left + right) / 2, (top + bottom) / 2
    side = REGION_SCALE * max(right - left, bottom - top)
    return Region(x=cos * x - sin * y, y=sin * x + cos * y, side=side, angle_radians=angle)


def make_region_matrix(region: Region, side: int) -> Float32Array:
    """Make the (2, 3) matrix from pixels of the picture to a region of (side, side) pixels."""
    scale = side / max(region.side, 1.0)
    cos, sin = scale * math.cos(region.angle_radians), scale * math.sin(region.angle_radians)
    x = side / 2 - cos * region.x - sin * region.y
    y = side / 2 + sin * region.x - cos * region.y
    return np.array([[cos, sin, x], [-sin, cos, y]], dtype=np.float32)


def select_landmarks(points: Float32Array) -> Float32Array:
    """Select (5, 2) eye centres, nose tip, mouth corners, in the ArcFace template's order."""
    corners = points[_CORNERS]
    corners[:2] = (corners[:2] + corners[5:]) / 2
    return corners[:5]


def compute_bounding_box(mesh: Mesh) -> FaceBox:
    """Compute the box around the measured face."""
    x, y = mesh.points.T.copy()
    left, top = float(x.min()), float(y.min())
    return FaceBox(
        left=left,
        top=top,
        width=float(x.max()) - left,
        height=float(y.max()) - top,
        score=mesh.score,
    )


def _eye_angle_radians(eye: Float32Array, other_eye: Float32Array) -> float:
    return math.atan2(float(other_eye[1] - eye[1]), float(other_eye[0] - eye[0]))
