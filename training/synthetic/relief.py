"""Relief of a face on the skull: nose, brow, sockets, cheeks, lips and chin."""

from __future__ import annotations

from typing import Final

import numpy as np

from training.synthetic.actor import Actor
from training.synthetic.expression import Expression
from training.synthetic.shapes import Canvas, Plane, gaussian_bump, gaussian_ridge

EYE_HEIGHT: Final = 0.02
MOUTH_HEIGHT: Final = 0.64


def compute_relief(face: Canvas, actor: Actor, expression: Expression) -> Plane:
    """Compute the (H, W) height above the skull, in half head heights."""
    height = _compute_nose(face, actor)
    height += _compute_bones(face, actor)
    height += _compute_flesh(face, actor, expression)
    return height


def _compute_nose(face: Canvas, actor: Actor) -> Plane:
    u, v = face.u, face.v
    tip = EYE_HEIGHT + actor.nose_length
    along = np.clip((v + 0.12) * (1 / (tip + 0.12)), 0, 1)
    bridge = np.exp(-np.square(u / (0.055 + 0.035 * along)))
    height = 0.10 * along * bridge * np.clip((tip + 0.03 - v) * (1 / 0.09), 0, 1)
    height += 0.050 * gaussian_bump(u, v, at=(0, tip - 0.01), size=(0.075, 0.065))
    wings = gaussian_bump(
        np.abs(u), v, at=(0.72 * actor.nose_width, tip + 0.02), size=(0.045, 0.045)
    )
    return height + 0.030 * wings


def _compute_bones(face: Canvas, actor: Actor) -> Plane:
    u, v = face.u, face.v
    side = np.abs(u)
    sockets = gaussian_bump(side, v, at=(actor.eye_distance, EYE_HEIGHT - 0.01), size=(0.19, 0.11))
    height = -0.050 * sockets
    height += 0.030 * gaussian_bump(side, v, at=(0.27, -0.19), size=(0.22, 0.07))
    height -= 0.022 * gaussian_bump(u, v, at=(0, 0.82), size=(0.16, 0.045))
    height += 0.040 * gaussian_bump(u, v, at=(0, 0.93), size=(0.17, 0.10))
    return height


def _compute_flesh(face: Canvas, actor: Actor, expression: Expression) -> Plane:
    """Compute the height of cheeks, lips, and the folds of smile and frown, (H, W)."""
    u, v = face.u, face.v
    side = np.abs(u)
    tip = EYE_HEIGHT + actor.nose_length
    cheek, smile = expression.cheek_raise, max(expression.smile, 0.0)
    at = (0.40, 0.36 - 0.05 * cheek)
    height = (0.035 + 0.035 * cheek) * gaussian_bump(side, v, at=at, size=(0.17, 0.15))
    height += 0.035 * gaussian_bump(u, v, at=(0, MOUTH_HEIGHT + 0.02), size=(0.26, 0.12))
    fold = side - (0.19 + 0.17 * np.clip((v - tip) * (1 / 0.25), 0, 1.2))
    place = gaussian_bump(side, v, at=(0.3, 0.54), size=(1, 0.12))
    height -= (0.004 + 0.014 * smile) * gaussian_ridge(fold, 0.04) * place
    furrow = gaussian_bump(side, v, at=(0.045, -0.17), size=(0.018, 0.08))
    return height - 0.009 * expression.brow_frown * furrow
