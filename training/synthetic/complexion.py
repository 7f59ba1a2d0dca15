"""Skin colours of a face: eye sockets, freckles, beard."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from training.synthetic.actor import Actor
from training.synthetic.relief import EYE_HEIGHT, MOUTH_HEIGHT
from training.synthetic.shapes import Canvas, Plane, gaussian_bump, scale_colour, to_planes

_NOISE_DENSITY: Final = 80.0
_NOISE_SIDE: Final = 288
_MIN_SIGMA_PIXELS: Final = 0.3
_FRECKLED_HEIGHTS: Final = (-0.1, 0.55)
"""Range of v with freckles."""


def draw_complexion(face: Canvas, actor: Actor) -> None:
    """Fill the canvas, whose u and v are face coordinates, with reflectance."""
    u, v = face.u, face.v
    side = np.abs(u)
    face.light[:] = to_planes(actor.skin)
    red = 0.5 * gaussian_bump(u, v, at=(0, 0.40), size=(0.12, 0.10))
    red += 0.2 * gaussian_bump(u, v, at=(0, 0.93), size=(0.2, 0.12))
    tired = gaussian_bump(side, v, at=(actor.eye_distance, EYE_HEIGHT + 0.02), size=(0.20, 0.13))
    for channel, (tint, shadow) in enumerate(((0.02, 0.10), (-0.20, 0.16), (-0.18, 0.12))):
        face.light[channel] *= 1 + tint * red - shadow * (0.6 + 0.9 * actor.tiredness) * tired
    spots = _sample_noise(face, actor.marks_seed, coarseness=1.1)
    top, bottom = _FRECKLED_HEIGHTS
    face.dim(0.30 * actor.freckles * np.clip(spots - 1.2, 0, 1) * (v < bottom) * (v > top))
    face.dim(0.10 * (_sample_noise(face, actor.marks_seed + 1, coarseness=7.0) * 0.5))
    hairs = 0.75 + 0.25 * np.clip(_sample_noise(face, actor.marks_seed + 2, coarseness=0.8), -1, 1)
    face.paint(scale_colour(actor.hair, 0.8), actor.beard * _beard_mask(u, v) * hairs)


def _beard_mask(u: Plane, v: Plane) -> Plane:
    """Compute the (H, W) mask of a beard: jaw, chin and upper lip."""
    side = np.abs(u)
    line = 0.82 - 0.5 * side - 1.2 * np.clip(side - 0.4, 0, 1)
    jaw = np.clip((v - line) * 9, 0, 1)
    lip = 1.3 * gaussian_bump(side, v, at=(0.12, 0.535), size=(0.17, 0.05))
    mouth = 1.4 * gaussian_bump(u, v, at=(0, MOUTH_HEIGHT + 0.02), size=(0.24, 0.085))
    return np.clip(np.maximum(jaw, lip) - mouth, 0, 1)


def _sample_noise(face: Canvas, seed: int, *, coarseness: float) -> Plane:
    """Sample noise of about unit variance, equal at every density; `coarseness` in hundredths."""
    noise = np.random.default_rng(seed).standard_normal((_NOISE_SIDE, _NOISE_SIDE), np.float32)
    sigma = coarseness * 0.01 * _NOISE_DENSITY
    if sigma > _MIN_SIGMA_PIXELS:
        noise = cv2.GaussianBlur(noise, (0, 0), sigma) * (2 * sigma * np.sqrt(np.pi))
    across, down = (_NOISE_DENSITY * each + _NOISE_SIDE / 2 for each in (face.u, face.v))
    sampled = cv2.remap(noise.astype(np.float32), across, down, cv2.INTER_LINEAR)
    return np.asarray(sampled, dtype=np.float32)
