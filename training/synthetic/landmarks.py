"""True positions of the five landmarks of a drawn face."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from service.domain.array_types import Float32Array
from training.synthetic.actor import Actor
from training.synthetic.camera import HeadPlacement
from training.synthetic.expression import Expression
from training.synthetic.face import locate_head
from training.synthetic.head import compute_depth
from training.synthetic.mouth import compute_mouth_corner
from training.synthetic.relief import EYE_HEIGHT
from training.synthetic.shapes import Plane

_MESH_OFFSETS: Final = np.array(
    [[0.0, -0.005], [0.0, -0.005], [0.0, 0.010], [0.050, 0.004], [-0.050, 0.004]]
)
"""Offset of the face mesh's landmarks from the drawn ones, on drawn faces."""


def compute_landmarks(actor: Actor, expression: Expression, view: HeadPlacement) -> Float32Array:
    """Compute (5, 2) float32 pixels: eyes, nose tip, mouth corners, in ArcFace's order."""
    corner, height = compute_mouth_corner(actor, expression)
    drawn = np.array(
        [
            [-actor.eye_distance, EYE_HEIGHT],
            [actor.eye_distance, EYE_HEIGHT],
            [0.0, EYE_HEIGHT + actor.nose_length],
            [-corner, height],
            [corner, height],
        ]
    )
    u, v = _undo_rotation(drawn + _MESH_OFFSETS, actor, expression)
    x, y, turn = locate_head(view, expression)
    across = u * math.cos(turn) - v * math.sin(turn)
    down = u * math.sin(turn) + v * math.cos(turn)
    return np.stack([x + view.unit * across, y + view.unit * down], axis=1).astype(np.float32)


def _undo_rotation(
    points: npt.NDArray[np.float64], actor: Actor, expression: Expression
) -> tuple[Plane, Plane]:
    """Convert points on the turned face to u and v of the head, by fixed-point iteration."""
    u: Plane = points[:, 0].copy()
    v: Plane = points[:, 1].copy()
    for _ in range(6):
        depth = compute_depth(u, v, actor, expression)
        u = (points[:, 0] + depth * math.sin(expression.yaw)) / math.cos(expression.yaw)
        v = (points[:, 1] + depth * math.sin(expression.pitch)) / math.cos(expression.pitch)
    return u, v
