"""Drawing of hair behind the head, over the forehead and beside the face."""

from __future__ import annotations

from typing import Final

import numpy as np

from training.synthetic.actor import Actor
from training.synthetic.head import Skull, compute_lamp_direction
from training.synthetic.shapes import Canvas, Light, Plane, gaussian_ridge, to_planes
from training.synthetic.sprite import Sprite

_EAR_COVERING_LENGTH: Final = 0.5


def draw_back_hair(head: Canvas, actor: Actor) -> None:
    """Draw the hair behind the head, down to the shoulders if it is long."""
    if actor.baldness:
        return
    reach = 0.15 + 1.25 * actor.hair_length
    width = actor.face_width + 0.06 + 0.10 * actor.hair_length
    wave = 0.025 * np.sin(head.v * 6 + np.sign(head.u))
    below = np.clip(head.v, 0, 2)
    sides = np.abs(head.u) - width - wave - 0.10 * below + 0.10 * np.square(below - 0.4)
    end = head.v - reach + 0.25 * np.square(head.u) + 0.015 * np.sin(head.u * 40)
    shape = np.where(head.v < 0, _crown_distance(head, width), np.maximum(sides, end))
    head.paint(_render_strands(head, actor, 0.5), head.compute_mask(shape, 0.03))


def draw_strands(head: Canvas, actor: Actor) -> None:
    """Fill the canvas with hair, independent of the haircut."""
    head.light[:] = _render_strands(head, actor, 1.0)


def draw_front_hair(head: Canvas, skull: Skull, actor: Actor, strands: Sprite) -> None:
    """Draw the parted hair over forehead and temples, with its shadow on the skin."""
    if actor.baldness:
        return
    face = skull.turned
    width = actor.face_width + 0.06 + 0.05 * actor.hair_length
    apart = np.abs(face.u - actor.parting)
    wisps = 0.010 * np.sin(face.u * 47 + 9 * face.v) + 0.006 * np.sin(face.u * 101)
    wisps += 0.030 * actor.curl * np.sin(face.u * 23 + 2) * np.sin(face.v * 19)
    fringe = face.v + 0.70 + actor.hairline - 0.55 * np.square(apart) - 0.10 * apart - wisps
    cheek = actor.face_width - 0.05 - 0.30 * np.square(np.clip(head.v + 0.05, -1, 0))
    reach = -0.05 + 0.9 * max(actor.hair_length - 0.35, 0.0)
    beside = np.maximum(cheek + 0.3 * wisps - np.abs(head.u), head.v - reach)
    edge = np.minimum(fringe, beside)
    below = np.clip(head.v, 0, 2)
    outer = np.where(
        head.v < 0, _crown_distance(head, width), np.abs(head.u) - width - 0.05 * below
    )
    cover = head.compute_mask(np.maximum(outer, edge), 0.035)
    head.dim(
        0.35 * head.compute_mask(edge - 0.04, 0.12) * head.compute_mask(skull.outline) * (1 - cover)
    )
    head.paint(strands.sample(head.u, head.v)[:3], cover)


def draw_side(head: Canvas, skull: Skull, actor: Actor, strands: Sprite) -> None:
    """Draw the side of a turned head: hair behind the temple, and the ear."""
    inside = head.compute_mask(skull.outline)
    if not actor.baldness:
        edge = np.maximum(skull.front - 0.16 - 0.25 * np.clip(-head.v, 0, 1), head.v - 0.42)
        head.paint(strands.sample(head.u, head.v)[:3], inside * head.compute_mask(edge, 0.04))
    if actor.hair_length > _EAR_COVERING_LENGTH and not actor.baldness:
        return
    ear = np.hypot((skull.front - 0.02) * (1 / 0.10), (head.v - 0.14) * (1 / 0.20))
    head.dim(0.25 * inside * head.compute_mask((ear - 1.15) * 0.1, 0.05))
    tone = to_planes(actor.skin) * to_planes((1.0, 0.86, 0.83)) * (0.75 + 0.2 * ear)
    head.paint(tone, inside * head.compute_mask((ear - 1) * 0.1))


def _crown_distance(head: Canvas, width: float) -> Plane:
    return (np.hypot(head.u * (1 / width), (head.v + 0.04) * (1 / 1.10)) - 1) * 0.9


def _render_strands(head: Canvas, actor: Actor, brightness: float) -> Light:
    """Render (3, H, W) hair: strands from the parting, with a band of shine."""
    fall = (head.u - actor.parting) / (1.15 + 0.5 * np.clip(head.v + 1, 0, 2))
    fall = fall + actor.curl * 0.035 * np.sin(head.v * 14 + 3 * np.sin(head.u * 9))
    strands = np.sin(fall * 90) + 0.7 * np.sin(fall * 157 + 2) + 0.5 * np.sin(fall * 263)
    across, _, _ = compute_lamp_direction(actor)
    lit = np.clip(0.62 + 0.45 * (head.u * across - 0.3 * head.v), 0.25, 1.3)
    tone = brightness * lit * (1 + 0.16 * strands)
    crest = head.v + 0.80 - 0.25 * np.square(head.u)
    sheen = 0.10 * brightness * np.clip(gaussian_ridge(crest, 0.10) * (0.6 + 0.3 * strands), 0, 1)
    colour = to_planes(actor.hair)
    return colour * tone + (colour + 0.12) * sheen
