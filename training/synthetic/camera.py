"""Where the camera stands, and what it makes of the light."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from service.domain.array_types import Float32Array, UInt8Array
from training.synthetic.actor import Colour
from training.synthetic.shapes import Light, to_planes


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPlacement:
    """Where a head lies in a picture: unit: pixels of half its height; x, y: of its middle.

    turn: radians, clockwise, of the whole picture.
    """

    unit: float
    x: float
    y: float
    turn: float = 0.0

    def transform(self, matrix: Float32Array) -> HeadPlacement:
        """The same head after a (2, 3) similarity of the picture."""
        scale = math.hypot(matrix[0, 0], matrix[1, 0])
        x, y = matrix[:, :2] @ np.array([self.x, self.y]) + matrix[:, 2]
        turn = math.atan2(matrix[1, 0], matrix[0, 0])
        return HeadPlacement(unit=self.unit * scale, x=float(x), y=float(y), turn=self.turn + turn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera on a table or in a hand.

    zoom: half a head's height, as a share of the picture's height. x, y: the head's middle as
    shares of width and height. unrest: of the hand. grain: in levels of 255. blur: in pixels of a
    picture 360 high.
    """

    zoom: float = 0.305
    x: float = 0.5
    y: float = 0.475
    shake: float = 0.0
    exposure: float = 1.0
    contrast: float = 1.0
    colour_cast: Colour = (1.0, 1.0, 1.0)
    grain: float = 0.0
    blur: float = 0.0

    @classmethod
    def from_seed(cls, seed: int) -> Self:
        """Any camera that a person would have before them."""
        random = np.random.default_rng([seed, 4])
        zoom = float(random.uniform(0.20, 0.32))
        red, blue = random.uniform(0.88, 1.12, size=2)
        return cls(
            zoom=zoom,
            x=float(random.uniform(0.36, 0.64)),
            y=float(0.475 + random.uniform(-0.3, 0.3) * (0.36 - zoom)),
            shake=float(random.uniform(0, 1) ** 2),
            exposure=float(random.uniform(0.72, 1.25)),
            contrast=float(random.uniform(0.85, 1.15)),
            colour_cast=(float(red), 1.0, float(blue)),
            grain=float(random.uniform(0, 2.5)),
            blur=float(random.uniform(0, 0.8)),
        )

    def place_head(self, seconds: float, *, height: int, width: int) -> HeadPlacement:
        """Where the head lies at a moment."""
        unit = min(self.zoom * height, 0.42 * width)
        shake = 0.035 * self.shake * unit
        sway = math.sin(1.1 * seconds) + 0.5 * math.sin(2.7 * seconds + 1)
        heave = math.sin(0.9 * seconds + 2) + 0.5 * math.sin(3.1 * seconds)
        return HeadPlacement(
            unit=unit * (1 + 0.02 * self.shake * math.sin(0.5 * seconds)),
            x=self.x * width + shake * sway,
            y=self.y * height + shake * heave,
            turn=0.012 * self.shake * math.sin(0.8 * seconds + 1),
        )

    def render_pixels(
        self, light: Light, *, blur_pixels: float, grain: Float32Array | None
    ) -> UInt8Array:
        """(H, W, 3) uint8 of the linear light, which is used up; a gamma of 2 is near enough.

        grain: (H, W), in levels of 255.
        """
        light *= to_planes(self.colour_cast) * self.exposure
        np.clip(light, 0, 1, out=light)
        np.sqrt(light, out=light)
        light *= 255 * self.contrast
        light += 0.5 + 255 * 0.45 * (1 - self.contrast)
        if grain is not None:
            light += grain
        np.clip(light, 0, 255, out=light)
        picture = np.asarray(cv2.merge(list(light.astype(np.uint8))), dtype=np.uint8)
        if blur_pixels > 0.2:
            picture = cv2.GaussianBlur(picture, (0, 0), blur_pixels).astype(np.uint8, copy=False)
        return picture
