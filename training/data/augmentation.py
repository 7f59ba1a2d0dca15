"""Augmentation of face crops: one random transform for a whole window, which preserves motion.

Source: random crop and horizontal flip, consistent over a window [L]; turn, scale and light [I].
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from service.domain.array_types import UInt8Array
from service.domain.model_signatures import CROP_SIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Maximum shift, rotation, scaling and light change to either side, drawn uniformly."""

    shift_pixels: float = 4.0
    rotation_degrees: float = 3.0
    scale: float = 0.06
    flip: float = 0.5
    """Probability that a window is mirrored."""
    contrast: float = 0.2
    tint: float = 0.3
    """Contrast of each channel separately."""
    brightness: float = 25.0
    """In levels of 255."""

    def apply(self, crops: UInt8Array, rng: np.random.Generator) -> UInt8Array:
        """Transform the crops of one window alike; (K, 112, 112, 3) uint8 to the same shape."""
        right, down, rotation, scaling = rng.uniform(-1.0, 1.0, 4)
        mirrored = rng.random() < self.flip
        light = self._draw_lookup_table(rng)
        centre = (CROP_SIDE - 1) / 2
        matrix = cv2.getRotationMatrix2D(
            (centre, centre), rotation * self.rotation_degrees, 1 + scaling * self.scale
        )
        matrix[:, 2] += np.array([right, down]) * self.shift_pixels
        moved = [
            cv2.warpAffine(crop, matrix, (CROP_SIDE, CROP_SIDE), borderMode=cv2.BORDER_REPLICATE)
            for crop in crops
        ]
        stacked = np.array([cv2.LUT(crop, light) for crop in moved], np.uint8).reshape(crops.shape)
        return np.ascontiguousarray(stacked[:, :, ::-1]) if mirrored else stacked

    def _draw_lookup_table(self, rng: np.random.Generator) -> UInt8Array:
        """Draw the new value of each level of each channel, (256, 1, 3)."""
        gain = (1 + rng.uniform(-self.contrast, self.contrast)) * (
            1 + rng.uniform(-self.tint, self.tint, 3)
        )
        offset = rng.uniform(-self.brightness, self.brightness)
        steps = np.arange(256.0)[:, None, None] * gain + offset
        return np.clip(steps, 0, 255).astype(np.uint8)
