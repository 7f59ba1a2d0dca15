"""Drawing of lips, teeth and tongue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthetic.actor import Actor, Colour
from training.synthetic.expression import Expression
from training.synthetic.relief import MOUTH_HEIGHT
from training.synthetic.shapes import (
    Canvas,
    Plane,
    gaussian_bump,
    gaussian_ridge,
    scale_colour,
    to_planes,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lips:
    """Coordinates of the mouth, (H, W) each.

    along: -1 and 1 at the corners. arch: 1 in the middle, 0 at the corners.
    upper, lower: v of the edges of the opening. ends: 1 between the corners.
    """

    along: Plane
    arch: Plane
    upper: Plane
    lower: Plane
    ends: Plane


def draw_mouth(face: Canvas, actor: Actor, expression: Expression) -> None:
    """Draw the mouth: curved by the smile, opened by voice and arousal."""
    smile, opening = expression.smile, expression.mouth_opening
    half_width, corner = compute_mouth_corner(actor, expression)
    part = face.view_around(0, MOUTH_HEIGHT + 0.06, half_width + 0.12, 0.34)
    along = part.u * (1 / half_width)
    arch = np.clip(1 - along * along, 0, 1)
    line = MOUTH_HEIGHT + 0.085 * smile * (arch - 0.55) + 0.004 * np.cos(along * 9) * arch
    gap = 0.27 * opening * arch**0.65
    lips = _Lips(
        along=along,
        arch=arch,
        upper=line - 0.22 * gap,
        lower=line + 0.78 * gap,
        ends=part.compute_mask((np.abs(along) - 1) * half_width, 0.02),
    )
    _draw_cavity(part, lips)
    _draw_upper_lip(part, lips, actor, smile)
    _draw_lower_lip(part, lips, actor, smile)
    part.dim(
        0.35 * gaussian_bump(np.abs(part.u), part.v, at=(half_width, corner), size=(0.030, 0.022))
    )


def compute_mouth_corner(actor: Actor, expression: Expression) -> tuple[float, float]:
    """Return u and v of the mouth's corners."""
    spread = 0.18 * expression.smile + 0.14 * expression.mouth_spread
    half_width = actor.mouth_width * (1 + spread - 0.14 * expression.mouth_opening)
    return half_width, MOUTH_HEIGHT - 0.047 * expression.smile


def _draw_cavity(part: Canvas, lips: _Lips) -> None:
    hollow = Canvas(light=np.zeros_like(part.light), u=part.u, v=part.v, pixel=part.pixel)
    hollow.light[:] = to_planes((0.035, 0.008, 0.008))
    tongue = np.hypot(lips.along * (1 / 0.62), (part.v - lips.lower - 0.01) * (1 / 0.075)) - 1
    hollow.paint((0.26, 0.07, 0.07), hollow.compute_mask(tongue * 0.07, 0.03))
    teeth = np.maximum(part.v - lips.upper - 0.050, (np.abs(lips.along) - 0.82) * 0.3)
    shade = 0.62 - 0.40 * np.square(lips.along)
    hollow.paint(to_planes((1.0, 0.95, 0.87)) * shade, hollow.compute_mask(teeth, 0.014))
    opening = np.maximum(lips.upper - part.v, part.v - lips.lower)
    part.paint(hollow.light, lips.ends * part.compute_mask(opening))


def _draw_upper_lip(part: Canvas, lips: _Lips, actor: Actor, smile: float) -> None:
    middle, peaks = gaussian_ridge(lips.along, 0.16), gaussian_ridge(np.abs(lips.along) - 0.3, 0.2)
    thickness = (
        _compute_lip_fullness(actor, smile)
        * 0.052
        * lips.arch**0.8
        * (1 - 0.3 * middle + 0.1 * peaks)
    )
    distance = np.maximum(lips.upper - thickness - part.v, part.v - lips.upper)
    part.paint(
        scale_colour(_compute_lip_colour(actor), 0.78),
        0.85 * lips.ends * part.compute_mask(distance, 0.012),
    )


def _draw_lower_lip(part: Canvas, lips: _Lips, actor: Actor, smile: float) -> None:
    """Draw the lower lip with its highlight, the line between the lips, the shadow below."""
    thickness = _compute_lip_fullness(actor, smile) * 0.068 * lips.arch**0.7
    below = part.v - lips.lower
    distance = np.maximum(-below, below - thickness)
    shine = gaussian_ridge(below / np.maximum(thickness, 1e-3) - 0.42, 0.30) * lips.arch
    band = to_planes(_compute_lip_colour(actor)) * (0.90 + 0.42 * shine)
    part.paint(band, 0.85 * lips.ends * part.compute_mask(distance, 0.014))
    part.dim(0.70 * lips.ends * part.compute_mask(np.abs(part.v - lips.upper) - 0.004, 0.012))
    part.dim(0.22 * lips.ends * gaussian_ridge(below - thickness - 0.025, 0.022) * lips.arch)


def _compute_lip_fullness(actor: Actor, smile: float) -> float:
    return actor.lip_fullness * (1 - 0.18 * abs(smile))


def _compute_lip_colour(actor: Actor) -> Colour:
    red = actor.lip_redness
    return (
        actor.skin[0] * (0.80 + 0.08 * red),
        actor.skin[1] * (0.62 - 0.24 * red),
        actor.skin[2] * (0.64 - 0.16 * red),
    )
