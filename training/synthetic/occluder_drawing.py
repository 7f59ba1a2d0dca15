"""Drawing of occluders: a hand, a book, a mug."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from training.synthetic.actor import Actor, Colour
from training.synthetic.occlusion import Occluder, OccluderKind
from training.synthetic.shapes import Canvas, Plane, gaussian_ridge, scale_colour, to_planes
from training.synthetic.sprite import Extent, Sprite

OCCLUDER_EXTENT: Final[Extent] = (-1.3, -1.2, 1.3, 2.6)
_FINGERS: Final = ((-0.36, -0.50), (-0.13, -0.72), (0.11, -0.74), (0.35, -0.58))
"""u of each finger's axis, v of its tip, in a hand whose palm is at the origin."""


def draw_occluder(canvas: Canvas, occluder: Occluder, actor: Actor) -> None:
    """Draw an occluder around the origin, upright, at its size in front of the face."""
    if occluder.kind is OccluderKind.HAND:
        _draw_hand(canvas, actor)
    elif occluder.kind is OccluderKind.THING:
        _draw_book(canvas, occluder.colour)
    else:
        _draw_mug(canvas, occluder.colour, actor)


def composite_occluder(head: Canvas, sprite: Sprite, occluder: Occluder, seconds: float) -> None:
    """Composite an occluder over the head, at its position at this time."""
    nearness = occluder.proximity_at(seconds)
    if nearness <= 0:
        return
    away = (1 - nearness) ** 2
    u = head.u - 2.2 * away * occluder.side
    v = head.v - 2.0 * away - (0.72 if occluder.kind is OccluderKind.MUG else 0.12)
    cosine, sine = math.cos(occluder.tilt), math.sin(occluder.tilt)
    turned = Canvas(
        light=head.light, u=u * cosine + v * sine, v=v * cosine - u * sine, pixel=head.pixel
    )
    sprite.composite_onto(turned)


def _capsule_distance(
    canvas: Canvas, start: tuple[float, float], end: tuple[float, float], radius: float
) -> Plane:
    """Compute the (H, W) signed distance from a capsule."""
    along_u, along_v = end[0] - start[0], end[1] - start[1]
    length = along_u**2 + along_v**2
    share = np.clip(
        ((canvas.u - start[0]) * along_u + (canvas.v - start[1]) * along_v) / length, 0, 1
    )
    return (
        np.hypot(canvas.u - start[0] - share * along_u, canvas.v - start[1] - share * along_v)
        - radius
    )


def _draw_hand(canvas: Canvas, actor: Actor) -> None:
    """Draw the back of a hand with its fingers up and a sleeve below."""
    arm = _capsule_distance(canvas, (0.0, 0.9), (0.15, 3.4), 0.34)
    _paint_round(canvas, arm, scale_colour(actor.clothes, 0.9), 0.34)
    parts = [_capsule_distance(canvas, (0.0, 0.12), (0.0, 0.62), 0.46)]
    parts.append(_capsule_distance(canvas, (-0.42, 0.45), (-0.74, -0.08), 0.13))
    parts += [_capsule_distance(canvas, (0.95 * u, 0.0), (u, tip), 0.125) for u, tip in _FINGERS]
    for part in parts:
        canvas.dim(0.30 * canvas.compute_mask(part - 0.03, 0.08))
        _paint_round(canvas, part, actor.skin, 0.13)
    for u, tip in _FINGERS:
        knuckle = gaussian_ridge(canvas.v - 0.45 * tip, 0.015) * canvas.compute_mask(
            np.abs(canvas.u - u) - 0.08, 0.05
        )
        canvas.dim(0.25 * knuckle)


def _paint_round(canvas: Canvas, distance: Plane, colour: Colour, depth: float) -> None:
    edge = np.clip(-distance * (1 / depth), 0, 1)
    shade = 0.55 + 0.45 * np.sqrt(edge) - 0.10 * np.clip(canvas.v, -1, 1.5)
    canvas.paint(to_planes(colour) * shade, canvas.compute_mask(distance))


def _draw_book(canvas: Canvas, colour: Colour) -> None:
    """Draw a book with its title."""
    distance = np.maximum(np.abs(canvas.u) - 0.78, np.abs(canvas.v) - 0.98)
    shade = 0.85 + 0.15 * np.clip(-canvas.v, -1, 1)
    canvas.dim(0.3 * canvas.compute_mask(distance - 0.04, 0.1))
    canvas.paint(to_planes(colour) * shade, canvas.compute_mask(distance))
    lines = np.maximum(np.abs(canvas.u) - 0.5, np.abs(np.abs(canvas.v + 0.35) - 0.12) - 0.04)
    canvas.paint(scale_colour((0.8, 0.75, 0.6), 0.8), 0.8 * canvas.compute_mask(lines))
    canvas.dim(0.3 * canvas.compute_mask(np.maximum(np.abs(canvas.u + 0.68) - 0.012, distance)))


def _draw_mug(canvas: Canvas, colour: Colour, actor: Actor) -> None:
    """Draw a mug at the lips, held by a hand from below."""
    hand = _capsule_distance(canvas, (-0.18, 0.32), (0.30, 0.30), 0.20)
    body = np.maximum(np.abs(canvas.u) - 0.27, np.abs(canvas.v - 0.12) - 0.32)
    round_shade = np.sqrt(np.clip(1 - np.square(canvas.u / 0.29), 0.1, 1))
    canvas.dim(0.25 * canvas.compute_mask(body - 0.03, 0.1))
    canvas.paint(to_planes(colour) * (0.45 + 0.6 * round_shade), canvas.compute_mask(body))
    for row in (0.20, 0.34, 0.48):
        finger = _capsule_distance(canvas, (-0.24, row), (0.26, row + 0.03), 0.065)
        _paint_round(canvas, finger, actor.skin, 0.07)
    _paint_round(canvas, np.maximum(hand, 0.42 - canvas.v), actor.skin, 0.2)
