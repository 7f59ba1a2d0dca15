"""Camera: position of the head in the frame, and conversion of linear light to pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Self

import cv2
import numpy as np

from service.domain.array_types import Float32Array, UInt8Array
from training.synthetic.actor import Colour
from training.synthetic.shapes import Light, to_planes

_MIN_BLUR_PIXELS: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPlacement:
    """Position of a head in an image.

    unit: pixels of half the head's height; x, y: pixels of its centre; turn: radians, clockwise, of
    the whole image.
    """

    unit: float
    x: float
    y: float
    turn: float = 0.0

    def transform(self, matrix: Float32Array) -> HeadPlacement:
        """Apply a (2, 3) similarity transform of the image."""
        scale = math.hypot(matrix[0, 0], matrix[1, 0])
        x, y = matrix[:, :2] @ np.array([self.x, self.y]) + matrix[:, 2]
        turn = math.atan2(matrix[1, 0], matrix[0, 0])
        return HeadPlacement(unit=self.unit * scale, x=float(x), y=float(y), turn=self.turn + turn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera on a table or in a hand.

    zoom: half a head's height, relative to the image's height. x, y: the head's centre, relative to
    width and height. shake: of the hand. grain: in levels of 255. blur: in pixels of an image of
    height 360.
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
        """Draw a plausible camera for a talking person."""
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
        """Compute the head's position at a time."""
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
        """Convert linear light to (H, W, 3) uint8, overwriting it; uses a gamma of 2.

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
        image = np.asarray(cv2.merge(list(light.astype(np.uint8))), dtype=np.uint8)
        if blur_pixels > _MIN_BLUR_PIXELS:
            image = cv2.GaussianBlur(image, (0, 0), blur_pixels).astype(np.uint8, copy=False)
        return image
