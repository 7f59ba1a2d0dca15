"""One picture of an actor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from service.domain.arrays import Bytes
from training.synthetic.actor import Actor
from training.synthetic.expression import Expression
from training.synthetic.eyes import draw_brows, draw_eyes
from training.synthetic.hair import draw_back_hair, draw_front_hair
from training.synthetic.head import draw_skin, shape_skull
from training.synthetic.mouth import draw_mouth
from training.synthetic.scene import draw_ears, draw_shoulders, room_light
from training.synthetic.shapes import Canvas, Light


def draw_face(actor: Actor, expression: Expression, *, height: int, width: int) -> Bytes:
    """Draw head and shoulders, looking at the camera.

    Returns: (H, W, 3) uint8 RGB, the head about two thirds of the height.
    """
    light = room_light(actor, height, width)
    unit = min(0.305 * height, 0.42 * width)
    frame = _Frame(light=light, unit=unit, sway=0.5 * unit * expression.yaw)
    head = frame.window(1.05, (-1.22, 1.16), turn=expression.roll)
    skull = shape_skull(head, actor, expression)
    behind = (-0.8, 0.45 + 1.25 * actor.hair_length)
    draw_back_hair(frame.window(1.1, behind, turn=expression.roll), actor)
    draw_shoulders(frame.window(2.2, (0.55, 2.0), turn=0.0), actor)
    draw_ears(head, actor)
    draw_skin(head, skull, actor, expression)
    draw_eyes(skull.turned, actor, expression)
    draw_mouth(skull.turned, actor, expression)
    draw_brows(skull.turned, actor, expression)
    draw_front_hair(head, skull, actor)
    return _developed(light)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """The whole picture. unit: pixels of half a head height. sway: pixels to the right."""

    light: Light
    unit: float
    sway: float

    def window(self, reach: float, heights: tuple[float, float], *, turn: float) -> Canvas:
        """The part of the picture within `reach` of the middle line, tilted by `turn`."""
        _, height, width = self.light.shape
        middle_row, middle_column = 0.475 * height, 0.5 * width + (self.sway if turn else 0)
        top = max(0, int(middle_row + heights[0] * self.unit))
        bottom = min(height, int(middle_row + heights[1] * self.unit))
        left = max(0, int(middle_column - reach * self.unit))
        right = min(width, int(middle_column + reach * self.unit))
        down = (np.arange(top, bottom, dtype=np.float32)[:, None] - middle_row) / self.unit
        across = (np.arange(left, right, dtype=np.float32)[None, :] - middle_column) / self.unit
        cosine, sine = math.cos(turn), math.sin(turn)
        return Canvas(
            light=self.light[:, top:bottom, left:right],
            u=across * cosine + down * sine,
            v=down * cosine - across * sine,
            pixel=1 / self.unit,
        )


def _developed(light: Light) -> Bytes:
    """Linear light, which is used up, to bytes; a gamma of 2 is near enough to that of screens."""
    np.clip(light, 0, 1, out=light)
    np.sqrt(light, out=light)
    light *= 255
    light += 0.5
    red, green, blue = light.astype(np.uint8)
    return np.asarray(cv2.merge([red, green, blue]), dtype=np.uint8)
