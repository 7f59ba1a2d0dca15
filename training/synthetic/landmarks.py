"""Where the five points of a drawn face lie: known, not measured."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array
from training.synthetic.actor import Actor
from training.synthetic.camera import HeadPlacement
from training.synthetic.expression import Expression
from training.synthetic.face import locate_head
from training.synthetic.head import compute_depth
from training.synthetic.mouth import compute_mouth_corner
from training.synthetic.relief import EYE_HEIGHT

_MESH_OFFSETS: Final = np.array(
    [[0.0, -0.005], [0.0, -0.005], [0.0, 0.010], [0.050, 0.004], [-0.050, 0.004]]
)
"""Where the face mesh sees the points of a drawn face, beside where they are drawn."""


def compute_landmarks(actor: Actor, expression: Expression, view: HeadPlacement) -> Float32Array:
    """(5, 2) float32 pixels: eyes, nose tip and mouth corners, in the ArcFace template's order."""
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
    points: np.ndarray, actor: Actor, expression: Expression
) -> tuple[np.ndarray, np.ndarray]:
    """u and v on the head of places on the turned face: the turn, inverted step by step."""
    u, v = points[:, 0].copy(), points[:, 1].copy()
    for _ in range(6):
        depth = compute_depth(u, v, actor, expression)
        u = (points[:, 0] + depth * math.sin(expression.yaw)) / math.cos(expression.yaw)
        v = (points[:, 1] + depth * math.sin(expression.pitch)) / math.cos(expression.pitch)
    return u, v
