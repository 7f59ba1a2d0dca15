"""Sprites: static drawings, rendered once and composited into every frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from training.synthetic.shapes import Canvas, Light, Plane

Extent = tuple[float, float, float, float]
"""left, top, right, bottom in half head heights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sprite:
    """A drawing with opacity.

    texture: (H, W, 4) float32, linear RGB times opacity, and 1 - opacity.
    left, top: u and v of the first pixel's centre. density: pixels per unit.
    """

    texture: Light
    left: float
    top: float
    density: float

    @classmethod
    def render(cls, draw: Callable[[Canvas], None], extent: Extent, density: float) -> Self:
        """Draw on black and on white; the difference gives the opacity."""
        left, top, right, bottom = extent
        u = np.arange(left, right, 1 / density, dtype=np.float32)[None, :]
        v = np.arange(top, bottom, 1 / density, dtype=np.float32)[:, None]
        u, v = np.broadcast_arrays(u, v)
        grounds: list[Light] = []
        for ground in (0.0, 1.0):
            light = np.full((3, *u.shape), ground, dtype=np.float32)
            draw(Canvas(light=light, u=u, v=v, pixel=1 / density))
            grounds.append(light)
        black, white = grounds
        through = (white - black).mean(axis=0, keepdims=True)
        texture = np.concatenate([black, through]).transpose(1, 2, 0)
        return cls(texture=np.ascontiguousarray(texture), left=left, top=top, density=density)

    def composite_onto(self, canvas: Canvas) -> None:
        """Composite the sprite over the canvas, at the canvas's u and v."""
        if not canvas.light.size:
            return
        sampled = self.sample(canvas.u, canvas.v)
        canvas.light[:] *= sampled[3]
        canvas.light[:] += sampled[:3]

    def sample(self, u: Plane, v: Plane) -> Light:
        """Sample colour and 1 - opacity at u, v, (4, H, W)."""
        across = ((u - self.left) * self.density).astype(np.float32)
        down = ((v - self.top) * self.density).astype(np.float32)
        sampled = cv2.remap(
            np.asarray(self.texture, dtype=np.float32),
            across,
            down,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(0, 0, 0, 1),
        )
        return np.stack(cv2.split(sampled)).astype(np.float32, copy=False)
