"""Where the five points of a drawn face lie: known, not measured."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from service.domain.arrays import Floats
from training.synthetic.actor import Actor
from training.synthetic.camera import View
from training.synthetic.expression import Expression
from training.synthetic.face import head_of
from training.synthetic.head import depth_at
from training.synthetic.mouth import corner_of
from training.synthetic.relief import EYE_HEIGHT

_MESH_HABITS: Final = np.array(
    [[0.0, -0.005], [0.0, -0.005], [0.0, 0.010], [0.050, 0.004], [-0.050, 0.004]]
)
"""Where the face mesh sees the points of a drawn face, beside where they are drawn."""


def five_points_of(actor: Actor, expression: Expression, view: View) -> Floats:
    """(5, 2) float32 pixels: eyes, nose tip and mouth corners, in the ArcFace template's order."""
    corner, height = corner_of(actor, expression)
    drawn = np.array(
        [
            [-actor.eye_distance, EYE_HEIGHT],
            [actor.eye_distance, EYE_HEIGHT],
            [0.0, EYE_HEIGHT + actor.nose_length],
            [-corner, height],
            [corner, height],
        ]
    )
    u, v = _unturned(drawn + _MESH_HABITS, actor, expression)
    x, y, turn = head_of(view, expression)
    across = u * math.cos(turn) - v * math.sin(turn)
    down = u * math.sin(turn) + v * math.cos(turn)
    return np.stack([x + view.unit * across, y + view.unit * down], axis=1).astype(np.float32)


def _unturned(
    points: np.ndarray, actor: Actor, expression: Expression
) -> tuple[np.ndarray, np.ndarray]:
    """u and v on the head of places on the turned face: the turn, inverted step by step."""
    u, v = points[:, 0].copy(), points[:, 1].copy()
    for _ in range(6):
        depth = depth_at(u, v, actor, expression)
        u = (points[:, 0] + depth * math.sin(expression.yaw)) / math.cos(expression.yaw)
        v = (points[:, 1] + depth * math.sin(expression.pitch)) / math.cos(expression.pitch)
    return u, v
