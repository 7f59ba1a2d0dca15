"""Drawing of neck, shoulders and ears."""

from __future__ import annotations

from typing import Final

import numpy as np

from training.synthetic.actor import Actor
from training.synthetic.head import compute_lamp_direction, compute_light
from training.synthetic.shapes import Canvas, gaussian_bump, to_planes

_COLLAR_HALF_WIDTH: Final = 0.60
_HEM_HALF_WIDTH: Final = 0.55


def draw_shoulders(body: Canvas, actor: Actor) -> None:
    """Draw a neck with the chin's shadow, and shoulders in a shirt."""
    _draw_neck(body, actor)
    side = np.abs(body.u)
    slope = 0.20 * np.clip(side - 0.35, 0, 9) + 0.40 * np.square(np.clip(side - 0.95, 0, 9))
    collar = body.v - 1.46 + 0.62 * side * side
    cloth = np.maximum(1.24 + slope - body.v, -collar - 9 * (side > _COLLAR_HALF_WIDTH))
    across = np.clip(body.u * (1 / 1.7), -1, 1)
    facing = np.sqrt(np.clip(0.9 - across * across, 0.1, 1))
    shade = compute_light(actor, across * 0.9, np.full_like(across, -0.35), facing)
    weave = 1 + 0.03 * np.sin(body.u * 130) * np.sin(body.v * 110)
    weave += actor.stripes * 0.35 * np.tanh(4 * np.sin(body.v * 26 + 0.4 * body.u**2))
    body.dim(0.35 * body.compute_mask(cloth - 0.05, 0.10) * (side < _COLLAR_HALF_WIDTH))
    body.paint(shade * to_planes(actor.clothes) * weave, body.compute_mask(cloth, 0.015))
    hem = np.abs(collar - 0.045) - 0.006
    is_hem = side < _HEM_HALF_WIDTH
    body.dim(0.25 * body.compute_mask(hem, 0.012) * is_hem * body.compute_mask(cloth))


def _draw_neck(body: Canvas, actor: Actor) -> None:
    part = body.view_around(0, 1.05, 0.62, 0.55)
    half_width = 0.37 + 0.22 * np.square(np.clip(part.v - 1.0, 0, 1))
    across = np.clip(part.u / half_width, -1, 1)
    facing = np.sqrt(np.clip(1 - across * across, 0.05, 1))
    shade = compute_light(actor, across * 0.85, np.full_like(across, 0.1), facing)
    inside = part.compute_mask(np.abs(part.u) - half_width)
    chin = 0.60 * np.clip((1.35 - part.v - 0.5 * np.square(part.u)) * (1 / 0.35), 0, 1)
    part.paint(shade * to_planes(actor.skin) * (1 - chin), inside)


def draw_ears(head: Canvas, actor: Actor) -> None:
    """Draw both ears."""
    for side in (-1, 1):
        centre = side * (actor.face_width + 0.02)
        part = head.view_around(centre, 0.14, 0.14, 0.26)
        across, down = (part.u - centre) * (1 / 0.085), (part.v - 0.14) * (1 / 0.19)
        lit = 0.62 + 0.35 * side * compute_lamp_direction(actor)[0]
        hollow = 0.16 * gaussian_bump(across, down, at=(-0.2 * side, 0), size=(0.45, 0.55))
        skin = to_planes(actor.skin) * to_planes((1.08, 0.90, 0.87)) * (lit - hollow)
        part.paint(skin, part.compute_mask((np.hypot(across, down) - 1) * 0.09))
