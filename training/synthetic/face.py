"""Drawing of an actor: head, face, hair and shoulders."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from service.domain.array_types import UInt8Array
from training.synthetic.actor import Actor
from training.synthetic.background import render_background
from training.synthetic.camera import Camera, HeadPlacement
from training.synthetic.complexion import draw_complexion
from training.synthetic.expression import Expression
from training.synthetic.eyes import draw_brows, draw_eyes, draw_spectacles
from training.synthetic.hair import draw_back_hair, draw_front_hair, draw_side, draw_strands
from training.synthetic.head import draw_skin, shape_skull
from training.synthetic.mouth import draw_mouth
from training.synthetic.shapes import Canvas, Light
from training.synthetic.sprite import Sprite
from training.synthetic.torso import draw_ears, draw_shoulders

_SIDE_YAW: Final = 0.6
"""Yaw in radians beyond which the side of the head is drawn."""


def draw_face(
    actor: Actor, expression: Expression, *, height: int, width: int, camera: Camera | None = None
) -> UInt8Array:
    """Draw head and shoulders, facing the camera.

    Returns: (H, W, 3) uint8 RGB; with the default camera the head takes two thirds of the height.
    """
    camera = camera or Camera()
    view = camera.place_head(0.0, height=height, width=width)
    light = render_background(actor, height, width)
    ActorRenderer(actor, density=view.unit).draw(light, view, expression)
    return camera.render_pixels(light, blur_pixels=0.0, grain=None)


class ActorRenderer:
    """Renderer of an actor, with pre-rendered static parts."""

    def __init__(self, actor: Actor, *, density: float) -> None:
        """Render the static parts; density: pixels per half head height."""
        self._actor = actor
        back = (-1.3, -1.3, 1.3, 0.45 + 1.25 * actor.hair_length)
        self._back_hair = Sprite.render(lambda to: draw_back_hair(to, actor), back, density)
        self._body = Sprite.render(
            lambda to: draw_shoulders(to, actor), (-3.4, 0.5, 3.4, 3.2), density
        )
        head = (-1.7, -1.4, 1.7, 1.5)
        self._ears = Sprite.render(lambda to: draw_ears(to, actor), (-1.1, -0.3, 1.1, 0.5), density)
        self._complexion = Sprite.render(lambda to: draw_complexion(to, actor), head, density)
        self._strands = Sprite.render(lambda to: draw_strands(to, actor), head, density)
        self._spectacles = (
            Sprite.render(lambda to: draw_spectacles(to, actor), (-0.8, -0.4, 0.8, 0.5), density)
            if actor.spectacles
            else None
        )

    def open_foreground(self, light: Light, view: HeadPlacement, expression: Expression) -> Canvas:
        """Open a canvas for objects in front of the head, with the head's u and v."""
        return _open_canvas(light, view, (1.9, -1.5, 3.0), expression)

    def draw(self, light: Light, view: HeadPlacement, expression: Expression) -> None:
        """Draw the actor into (3, H, W) linear light."""
        actor = self._actor
        head = _open_canvas(light, view, (1.08, -1.22, 1.16), expression)
        back_reach = 0.45 + 1.25 * actor.hair_length
        self._back_hair.composite_onto(
            _open_canvas(light, view, (1.25, -1.22, back_reach), expression)
        )
        self._body.composite_onto(_open_canvas(light, view, (3.4, 0.55, 3.2), None))
        away = abs(expression.yaw) > _SIDE_YAW
        if not away:
            self._ears.composite_onto(head)
        skull = shape_skull(head, actor, expression)
        behind = head.light.copy()
        draw_skin(head, skull, actor, expression, self._complexion)
        draw_eyes(skull.turned, actor, expression)
        draw_mouth(skull.turned, actor, expression)
        draw_brows(skull.turned, actor, expression)
        if self._spectacles is not None:
            self._spectacles.composite_onto(skull.turned)
        if away:
            draw_side(head, skull, actor, self._strands)
        head.paint(behind, head.compute_mask(-skull.outline))
        draw_front_hair(head, skull, actor, self._strands)


def _open_canvas(
    light: Light,
    view: HeadPlacement,
    reach: tuple[float, float, float],
    expression: Expression | None,
) -> Canvas:
    """Open the part of the image within `reach` (aside, above, below) of the head's centre.

    Its coordinates follow the head, or the body without an expression.
    """
    _, height, width = light.shape
    x, y, turn = locate_head(view, expression)
    aside, above, below = (each * view.unit for each in reach)
    top, bottom = max(0, int(y + above)), max(0, min(height, int(y + below)))
    left, right = max(0, int(x - aside)), max(0, min(width, int(x + aside)))
    down = (np.arange(top, max(top, bottom), dtype=np.float32)[:, None] - y) / view.unit
    across = (np.arange(left, max(left, right), dtype=np.float32)[None, :] - x) / view.unit
    cosine, sine = math.cos(turn), math.sin(turn)
    return Canvas(
        light=light[:, top : max(top, bottom), left : max(left, right)],
        u=across * cosine + down * sine,
        v=down * cosine - across * sine,
        pixel=1 / view.unit,
    )


def locate_head(view: HeadPlacement, expression: Expression | None) -> tuple[float, float, float]:
    """Return x, y in pixels and turn of the head, or of the body without an expression."""
    if expression is None:
        return view.x, view.y, view.turn
    sway = 0.5 * view.unit * min(max(expression.yaw, -0.4), 0.4)
    return (
        view.x + sway * math.cos(view.turn),
        view.y + sway * math.sin(view.turn),
        view.turn + expression.roll,
    )
