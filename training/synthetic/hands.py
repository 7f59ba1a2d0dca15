"""What comes before a face: a hand, a thing, a mug."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from training.synthetic.actor import Actor, Colour
from training.synthetic.occlusion import Kind, Occluder
from training.synthetic.shapes import Canvas, Plane, planes, ridge, scaled
from training.synthetic.sprite import Extent, Sprite

EXTENT: Final[Extent] = (-1.3, -1.2, 1.3, 2.6)
_FINGERS: Final = ((-0.36, -0.50), (-0.13, -0.72), (0.11, -0.74), (0.35, -0.58))
"""u of each finger's middle, v of its tip, in a hand whose palm is at the origin."""


def draw_occluder(to: Canvas, occluder: Occluder, actor: Actor) -> None:
    """Draw it around the origin, upright, as it is right before the face."""
    if occluder.kind is Kind.HAND:
        _draw_hand(to, actor)
    elif occluder.kind is Kind.THING:
        _draw_thing(to, occluder.colour)
    else:
        _draw_mug(to, occluder.colour, actor)


def lay_occluder(head: Canvas, sprite: Sprite, occluder: Occluder, seconds: float) -> None:
    """Lay it over the head, as near as it is at the moment."""
    nearness = occluder.nearness(seconds)
    if nearness <= 0:
        return
    away = (1 - nearness) ** 2
    u = head.u - 2.2 * away * occluder.side
    v = head.v - 2.0 * away - (0.72 if occluder.kind is Kind.MUG else 0.12)
    cosine, sine = math.cos(occluder.tilt), math.sin(occluder.tilt)
    turned = Canvas(
        light=head.light, u=u * cosine + v * sine, v=v * cosine - u * sine, pixel=head.pixel
    )
    sprite.lay(turned)


def _capsule(to: Canvas, start: tuple[float, float], end: tuple[float, float], r: float) -> Plane:
    """Distance from a rounded stick."""
    along_u, along_v = end[0] - start[0], end[1] - start[1]
    length = along_u**2 + along_v**2
    share = np.clip(((to.u - start[0]) * along_u + (to.v - start[1]) * along_v) / length, 0, 1)
    return np.hypot(to.u - start[0] - share * along_u, to.v - start[1] - share * along_v) - r


def _draw_hand(to: Canvas, actor: Actor) -> None:
    """The back of a hand with its fingers up and a sleeve below."""
    arm = _capsule(to, (0.0, 0.9), (0.15, 3.4), 0.34)
    _paint_round(to, arm, scaled(actor.clothes, 0.9), 0.34)
    parts = [_capsule(to, (0.0, 0.12), (0.0, 0.62), 0.46)]
    parts.append(_capsule(to, (-0.42, 0.45), (-0.74, -0.08), 0.13))
    parts += [_capsule(to, (0.95 * u, 0.0), (u, tip), 0.125) for u, tip in _FINGERS]
    for part in parts:
        to.dim(0.30 * to.inside(part - 0.03, 0.08))
        _paint_round(to, part, actor.skin, 0.13)
    for u, tip in _FINGERS:
        knuckle = ridge(to.v - 0.45 * tip, 0.015) * to.inside(np.abs(to.u - u) - 0.08, 0.05)
        to.dim(0.25 * knuckle)


def _paint_round(to: Canvas, distance: Plane, colour: Colour, depth: float) -> None:
    edge = np.clip(-distance * (1 / depth), 0, 1)
    shade = 0.55 + 0.45 * np.sqrt(edge) - 0.10 * np.clip(to.v, -1, 1.5)
    to.paint(planes(colour) * shade, to.inside(distance))


def _draw_thing(to: Canvas, colour: Colour) -> None:
    """A book or a folder, with its title and a hand's thumb at its side."""
    distance = np.maximum(np.abs(to.u) - 0.78, np.abs(to.v) - 0.98)
    shade = 0.85 + 0.15 * np.clip(-to.v, -1, 1)
    to.dim(0.3 * to.inside(distance - 0.04, 0.1))
    to.paint(planes(colour) * shade, to.inside(distance))
    lines = np.maximum(np.abs(to.u) - 0.5, np.abs(np.abs(to.v + 0.35) - 0.12) - 0.04)
    to.paint(scaled((0.8, 0.75, 0.6), 0.8), 0.8 * to.inside(lines))
    to.dim(0.3 * to.inside(np.maximum(np.abs(to.u + 0.68) - 0.012, distance)))


def _draw_mug(to: Canvas, colour: Colour, actor: Actor) -> None:
    """A mug at the lips, held by a hand from below."""
    hand = _capsule(to, (-0.18, 0.32), (0.30, 0.30), 0.20)
    body = np.maximum(np.abs(to.u) - 0.27, np.abs(to.v - 0.12) - 0.32)
    round_shade = np.sqrt(np.clip(1 - np.square(to.u / 0.29), 0.1, 1))
    to.dim(0.25 * to.inside(body - 0.03, 0.1))
    to.paint(planes(colour) * (0.45 + 0.6 * round_shade), to.inside(body))
    for row in (0.20, 0.34, 0.48):
        finger = _capsule(to, (-0.24, row), (0.26, row + 0.03), 0.065)
        _paint_round(to, finger, actor.skin, 0.07)
    _paint_round(to, np.maximum(hand, 0.42 - to.v), actor.skin, 0.2)
