"""Drawing of eyes, brows and spectacles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthetic.actor import Actor
from training.synthetic.expression import Expression
from training.synthetic.relief import EYE_HEIGHT
from training.synthetic.shapes import (
    Canvas,
    Plane,
    gaussian_bump,
    gaussian_ridge,
    scale_colour,
    to_planes,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _EyeOpening:
    """Coordinates of one eye and its lids, (H, W) each.

    along: -1 at the nose, 1 at the temple. across, iris: distance from the centres of eye and iris.
    height, upper, lower: v of the pixel and of the lids, from the eye's centre.
    """

    along: Plane
    across: Plane
    iris: Plane
    height: Plane
    upper: Plane
    lower: Plane


def draw_eyes(face: Canvas, actor: Actor, expression: Expression) -> None:
    """Draw both eyes with lids and lashes."""
    for side in (-1, 1):
        centre = side * actor.eye_distance
        part = face.view_around(centre, EYE_HEIGHT, 0.30, 0.20)
        along = (part.u - centre) * (side / actor.eye_size)
        upper, lower = _compute_lids(along, actor.eye_size, expression)
        opening = _EyeOpening(
            along=along,
            across=part.u - centre,
            iris=part.u - centre - 0.35 * actor.eye_size * expression.gaze,
            height=part.v - EYE_HEIGHT + actor.eye_slant * along,
            upper=upper,
            lower=lower,
        )
        _draw_crease(part, opening)
        _draw_ball(part, opening, actor, expression)
        _draw_lashes(part, opening, actor)


def draw_brows(face: Canvas, actor: Actor, expression: Expression) -> None:
    """Draw both brows, moved by surprise, anger and sorrow."""
    for side in (-1, 1):
        middle = actor.eye_distance + 0.015 - 0.025 * expression.brow_frown
        part = face.view_around(side * middle, -0.22, 0.34, 0.24)
        along = (part.u * side - middle) * (1 / 0.20)
        inner = np.clip(0.5 - 0.5 * along, 0, 1.2)
        line = (
            -0.175 - actor.brow_arch * (1 - np.square(along - 0.25)) - 0.085 * expression.brow_raise
        )
        line += (0.065 * expression.brow_frown - 0.11 * expression.brow_sorrow) * inner**1.5
        line += 0.035 * expression.brow_sorrow * (1 - inner)
        thickness = actor.brow_weight * (0.018 + 0.016 * np.clip(inner, 0, 1))
        hairs = 0.003 * np.sin(part.u * 260 + part.v * 140 * side)
        distance = np.maximum(np.abs(part.v - line + hairs) - thickness, (np.abs(along) - 1) * 0.2)
        part.paint(scale_colour(actor.hair, 0.7), 0.85 * part.compute_mask(distance, 0.024))


def draw_spectacles(face: Canvas, actor: Actor) -> None:
    """Draw two rims, a bridge and the temples; the glass dims slightly."""
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


def _compute_lids(along: Plane, size: float, expression: Expression) -> tuple[Plane, Plane]:
    arch = np.sqrt(np.clip(1 - along * along, 0, 1))
    lower = size * (0.36 - 0.16 * expression.cheek_raise) * arch * np.sqrt(arch)
    highest = -size * arch * (0.52 + 0.05 * (along < 0))
    opening = float(np.clip(expression.lid_opening, 0, 1.45))
    return lower + (highest - lower) * opening, lower


def _draw_ball(part: Canvas, opening: _EyeOpening, actor: Actor, expression: Expression) -> None:
    size = actor.eye_size
    across, down = opening.across, opening.height + 0.04 * size
    roundness = 0.60 * (1 - 0.45 * np.square(across / size))
    white = to_planes((1.0, 0.96, 0.93)) * roundness
    ball = Canvas(light=white, u=part.u, v=part.v, pixel=part.pixel)
    radius = np.hypot(opening.iris, down)
    ball.paint(scale_colour(actor.iris, 0.25), ball.compute_mask(radius - 0.47 * size))
    glow = to_planes(actor.iris) * (0.75 + 1.1 * np.clip(down / size + 0.2, 0, 1))
    ball.paint(glow, ball.compute_mask(radius - 0.41 * size, 0.12 * size))
    pupil = size * (0.17 + 0.03 * expression.lid_opening)
    ball.paint((0.004, 0.004, 0.005), ball.compute_mask(radius - pupil))
    ball.dim(0.55 * gaussian_ridge(opening.height - opening.upper, 0.22 * size))
    glint = -0.16 * size if actor.light_azimuth < 0 else 0.16 * size
    shine = np.hypot(opening.iris - glint, down + 0.18 * size) - 0.075 * size
    ball.paint((1.0, 1.0, 1.0), ball.compute_mask(shine))
    lids = np.maximum(opening.upper - opening.height, opening.height - opening.lower)
    part.paint(ball.light, part.compute_mask(np.maximum(lids, np.abs(across) - 0.99 * size)))


def _draw_crease(part: Canvas, opening: _EyeOpening) -> None:
    """Draw the fold above the eye and the shadow in its corner."""
    above = opening.height - opening.upper
    reach = np.clip(1.1 - np.square(opening.along), 0, 1)
    part.dim(0.36 * reach * gaussian_ridge(above + 0.052, 0.014))
    part.dim(0.20 * gaussian_bump(opening.along, above, at=(-1.0, 0.0), size=(0.25, 0.05)))


def _draw_lashes(part: Canvas, opening: _EyeOpening, actor: Actor) -> None:
    ends = part.compute_mask((np.abs(opening.along) - 1.06) * actor.eye_size)
    thickness = 0.009 + 0.006 * np.clip(opening.along, 0, 1)
    upper = np.abs(opening.height - opening.upper) - thickness
    part.paint((0.012, 0.009, 0.008), 0.92 * ends * part.compute_mask(upper))
    lower = np.abs(opening.height - opening.lower) - 0.004
    part.dim(0.40 * ends * part.compute_mask(lower, 0.012))
