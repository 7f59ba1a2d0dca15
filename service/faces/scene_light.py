"""Light of a scene: what the colours of a whole picture have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from service.domain.array_types import Float32Array, UInt8Array

_MEAN: Final = 128.0
_STD: Final = 50.0
_MIN_STD: Final = 10.0
"""A picture of less contrast, as black or white ones, has no light."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneLight:
    """Mean and standard deviation of red, green and blue in a picture, (3,) each."""

    mean: Float32Array
    std: Float32Array

    @classmethod
    def of(cls, pixels: UInt8Array) -> Self:
        """Measure (H, W, 3) pixels."""
        flat = pixels.reshape(-1, 3).astype(np.float32)
        return cls(mean=flat.mean(axis=0), std=flat.std(axis=0))

    @property
    def is_known(self) -> bool:
        """True where there is light and contrast enough for colours."""
        return bool(self.std.min() >= _MIN_STD)

    def normalise(self, colours: Float32Array) -> Float32Array:
        """Convert (K, 3) colours to a light of equal mean and contrast; NaN where there is none.

        Brightness, white balance and fades to a plain colour hardly change what comes of it.
        """
        if not self.is_known:
            return np.full_like(colours, np.nan)
        normal = _MEAN + _STD * (colours - self.mean) / self.std
        return np.clip(normal, 0, 255).astype(np.float32)
