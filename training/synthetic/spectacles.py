"""Spectacles, on the face that wears them."""

from __future__ import annotations

import numpy as np

from training.synthetic.actor import Actor
from training.synthetic.relief import EYE_HEIGHT
from training.synthetic.shapes import Canvas


def draw_spectacles(face: Canvas, actor: Actor) -> None:
    """Two rims, a bridge and the temples; the glass takes a little light away."""
    thickness = 0.010 + 0.018 * actor.spectacles
    half_width, half_height = actor.eye_size + 0.075, actor.eye_size + 0.015
    down = (face.v - EYE_HEIGHT - 0.02) / half_height
    for side in (-1, 1):
        across = (face.u - side * (actor.eye_distance + 0.01)) / half_width
        rim = ((np.abs(across) ** 3 + np.abs(down) ** 3) ** (1 / 3) - 1) * half_height
        face.dim(0.05 * face.compute_mask(rim))
        face.paint(actor.rims, 0.95 * face.compute_mask(np.abs(rim) - thickness))
    bridge = np.abs(face.v - EYE_HEIGHT + 0.02 - 0.25 * np.square(face.u)) - 0.8 * thickness
    face.paint(
        actor.rims, face.compute_mask(bridge) * (np.abs(face.u) < actor.eye_distance - half_width)
    )
    outside = np.abs(face.u) - actor.eye_distance - half_width
    temple = np.maximum(np.abs(face.v - EYE_HEIGHT + 0.03) - 0.7 * thickness, -outside)
    face.paint(actor.rims, 0.9 * face.compute_mask(temple))
