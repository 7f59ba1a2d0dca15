"""Canvas and antialiased shapes; coordinates are in half head heights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from training.synthetic.actor import Colour

Plane = npt.NDArray[np.floating[Any]]
"""(H, W) float32: one value per pixel."""
Light = npt.NDArray[np.floating[Any]]
"""(3, H, W) float32, linear RGB; planes are several times faster than interleaved pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """An image in linear light, and the coordinates of its pixels.

    light: (3, H, W) float32, painted in place.
    u, v: (H, W) float32, to the right and down from the centre of the head.
    pixel: side of a pixel in the unit of u and v.
    """

    light: Light
    u: Plane
    v: Plane
    pixel: float

    def view_around(self, u: float, v: float, half_width: float, half_height: float) -> Self:
        """Return a view of the canvas around u, v, painted in place."""
        near = (np.abs(self.u - u) < half_width) & (np.abs(self.v - v) < half_height)
        rows, columns = _find_extent(near, axis=1), _find_extent(near, axis=0)
        return type(self)(
            light=self.light[:, rows, columns],
            u=self.u[rows, columns],
            v=self.v[rows, columns],
            pixel=self.pixel,
        )

    def compute_mask(self, distance: Plane, softness: float = 0.0) -> Plane:
        """Return 1 where `distance` is negative, 0 where positive, blended over `softness`."""
        return np.clip(0.5 - distance / max(1.5 * self.pixel, softness), 0, 1)

    def paint(self, colour: Colour | Light, cover: Plane) -> None:
        """Blend a colour, (3,) or (3, H, W), over the canvas with opacity `cover`, (H, W)."""
        self.light[:] += (to_planes(colour) - self.light) * cover

    def dim(self, amount: Plane) -> None:
        """Reduce the light by this share, (H, W)."""
        self.light[:] *= 1 - amount


def to_planes(colour: Colour | Light) -> Light:
    """Reshape a colour to (3, 1, 1); (3, H, W) is returned unchanged."""
    light = np.asarray(colour, dtype=np.float32)
    return light.reshape(3, 1, 1) if light.ndim == 1 else light


def scale_colour(colour: Colour, share: float) -> Colour:
    """Multiply a colour by a factor."""
    return colour[0] * share, colour[1] * share, colour[2] * share


def gaussian_bump(
    u: Plane, v: Plane, *, at: tuple[float, float], size: tuple[float, float]
) -> Plane:
    """Compute a Gaussian of height 1, (H, W)."""
    across, down = (u - at[0]) * (1 / size[0]), (v - at[1]) * (1 / size[1])
    return np.exp(-(across * across + down * down))


def gaussian_ridge(distance: Plane, width: float) -> Plane:
    """Compute a Gaussian ridge of height 1 along the line where `distance` is 0, (H, W)."""
    return np.exp(-np.square(distance * (1 / width)))


def _find_extent(occupied: npt.NDArray[np.bool_], axis: int) -> slice:
    indices = np.flatnonzero(occupied.any(axis=axis))
    return slice(int(indices[0]), int(indices[-1]) + 1) if len(indices) else slice(0, 0)
