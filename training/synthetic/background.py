"""Background of a frame: a blurred wall with furniture."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from training.synthetic.actor import Actor
from training.synthetic.shapes import Light, to_planes

_WINDOW_SHARE: Final = 0.2
"""Share of the rectangles that are as bright as a window."""


def render_background(actor: Actor, height: int, width: int) -> Light:
    """Render (3, H, W) linear light, brighter on the lamp's side."""
    across = np.linspace(-1, 1, 64, dtype=np.float32)[None, :]
    down = np.linspace(-1, 1, 36, dtype=np.float32)[:, None]
    lamp = -float(np.sign(actor.light_azimuth))
    glow = 0.75 + 0.55 * np.exp(-np.square(across - 0.5 * lamp) * 2 - np.square(down + 0.2) * 1.2)
    glow = actor.room_brightness * glow * (1 - 0.18 * (across * across + down * down))
    wall = to_planes(actor.room) * glow
    random = np.random.default_rng(actor.marks_seed + 9)
    for _ in range(actor.furniture):
        _draw_rectangle(wall, across, down, random)
    wall = cv2.GaussianBlur(np.ascontiguousarray(wall.transpose(1, 2, 0)), (0, 0), 1.2)
    wall = cv2.resize(wall, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.stack(cv2.split(wall)), 0, None).astype(np.float32, copy=False)


def _draw_rectangle(wall: Light, across: Light, down: Light, random: np.random.Generator) -> None:
    """Draw an upright rectangle: a picture, a shelf, a door, a window."""
    x, y = random.uniform(-1.1, 1.1), random.uniform(-1, 0.8)
    half_width, half_height = random.uniform(0.05, 0.45), random.uniform(0.1, 0.9)
    inside = (np.abs(across - x) < half_width) & (np.abs(down - y) < half_height)
    if random.random() < _WINDOW_SHARE:
        colour = to_planes((0.75, 0.85, 0.95)) * float(random.uniform(0.5, 1.1))
    else:
        tone = random.uniform(0.02, 0.4) * random.uniform(0.75, 1.25, size=(3, 1, 1))
        colour = tone.astype(np.float32)
    np.copyto(wall, 0.15 * wall + 0.85 * colour, where=inside)
