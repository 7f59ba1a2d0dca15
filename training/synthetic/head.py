"""Drawing of skull and skin: an egg-shaped head, lit by one lamp and ambient light."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.synthetic.actor import Actor, Colour
from training.synthetic.expression import Expression
from training.synthetic.relief import EYE_HEIGHT, compute_relief
from training.synthetic.shapes import Canvas, Light, Plane, gaussian_bump, to_planes
from training.synthetic.sprite import Sprite

_DEPTH: Final = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class Skull:
    """The head's outline and the coordinates of its turned face.

    outline: (H, W), negative inside. depth: (H, W), towards the viewer.
    half_width: (H, W), of the head at this height.
    front: (H, W), distance from the ears towards the nose.
    turned: the canvas with u and v on the turned face.
    """

    outline: Plane
    depth: Plane
    half_width: Plane
    front: Plane
    turned: Canvas


def shape_skull(canvas: Canvas, actor: Actor, expression: Expression) -> Skull:
    """Compute the skull on the canvas and turn the face on it."""
    half_width, radius = _compute_head_shape(canvas.u, canvas.v, actor, expression)
    depth = _DEPTH * np.sqrt(np.clip(1 - radius, 0, 1))
    turned = Canvas(
        light=canvas.light,
        u=canvas.u * math.cos(expression.yaw) - depth * math.sin(expression.yaw),
        v=canvas.v * math.cos(expression.pitch) - depth * math.sin(expression.pitch),
        pixel=canvas.pixel,
    )
    outline = (np.sqrt(radius) - 1) * half_width
    front = canvas.u * math.sin(expression.yaw) + depth * math.cos(expression.yaw)
    return Skull(outline=outline, depth=depth, half_width=half_width, front=front, turned=turned)


def compute_depth(u: Plane, v: Plane, actor: Actor, expression: Expression) -> Plane:
    """Compute the head's depth towards the viewer at u, v, (H, W)."""
    _, radius = _compute_head_shape(u, v, actor, expression)
    return _DEPTH * np.sqrt(np.clip(1 - radius, 0, 1))


def _compute_head_shape(
    u: Plane, v: Plane, actor: Actor, expression: Expression
) -> tuple[Plane, Plane]:
    """Compute the head's half width at each height, and the squared radius, 1 on the outline."""
    below = np.clip(v, 0, 1.2)
    taper = 0.34 - 0.20 * actor.jaw_width
    half_width = actor.face_width * (1 - taper * below * below)
    chin = actor.chin_length + 0.05 * expression.mouth_opening
    across = u / half_width
    down = v - (1 - 1 / chin) * below
    corners = 0.45 * actor.jaw_width * np.square(across * below)
    return half_width, across * across + down * down - corners


def draw_skin(
    canvas: Canvas, skull: Skull, actor: Actor, expression: Expression, complexion: Sprite
) -> None:
    """Draw the lit skin inside the outline."""
    relief = compute_relief(skull.turned, actor, expression)
    slope_v, slope_u = np.gradient(relief, canvas.pixel)
    normal_u = canvas.u / np.square(skull.half_width) - slope_u
    normal_v = canvas.v * 0.9 - slope_v
    normal_z = skull.depth * (1 / _DEPTH**2) + 0.05
    length = np.sqrt(normal_u * normal_u + normal_v * normal_v + normal_z * normal_z)
    normal_u, normal_v, normal_z = normal_u / length, normal_v / length, normal_z / length
    skin = complexion.sample(skull.turned.u, skull.turned.v)[:3]
    skin[1:] *= 1 - 0.22 * _blush_mask(skull.turned, expression)
    skin *= compute_light(actor, normal_u, normal_v, normal_z)
    skin += _compute_specular(actor, normal_u, normal_v, normal_z)
    canvas.paint(skin, canvas.compute_mask(skull.outline))
    _draw_nostrils(skull.turned, actor)


def compute_lamp_direction(actor: Actor) -> tuple[float, float, float]:
    """Compute the unit vector to the lamp: u, v, towards the viewer."""
    across, down = 0.85 * math.sin(actor.light_azimuth), -0.48
    return across, down, math.sqrt(1 - across**2 - down**2)


def compute_light(actor: Actor, normal_u: Plane, normal_v: Plane, normal_z: Plane) -> Light:
    """Compute (3, H, W) light on a surface; red wraps further, as with subsurface scattering."""
    lamp = compute_lamp_direction(actor)
    facing = normal_u * lamp[0] + normal_v * lamp[1] + normal_z * lamp[2]
    warmth = actor.light_warmth
    key: Colour = (1.24 + 0.10 * warmth, 1.20, 1.16 - 0.16 * warmth)
    room: Colour = (0.26, 0.27 + 0.01 * warmth, 0.30 - 0.02 * warmth)
    open_sky = 0.75 - 0.25 * normal_v
    light = np.empty((3, *facing.shape), dtype=np.float32)
    for channel, wrap in enumerate((0.32, 0.20, 0.14)):
        lit = np.clip((facing + wrap) * (1 / (1 + wrap)), 0, 1)
        light[channel] = key[channel] * lit + room[channel] * open_sky
    return light


def _blush_mask(face: Canvas, expression: Expression) -> Plane:
    """Compute the (H, W) strength of the blush, which absorbs green and blue."""
    cheeks = gaussian_bump(np.abs(face.u), face.v, at=(0.42, 0.34), size=(0.24, 0.19))
    nose = gaussian_bump(face.u, face.v, at=(0, 0.40), size=(0.12, 0.10))
    return expression.blush * (cheeks + 0.4 * nose)


def _compute_specular(actor: Actor, normal_u: Plane, normal_v: Plane, normal_z: Plane) -> Plane:
    """Compute the lamp's specular reflection on the skin, (H, W)."""
    across, down, forward = compute_lamp_direction(actor)
    length = math.hypot(across, down, forward + 1)
    towards = (normal_u * across + normal_v * down + normal_z * (forward + 1)) * (1 / length)
    shine = np.square(np.square(np.clip(towards, 0, 1)))
    return 0.07 * np.square(shine) * np.square(np.square(shine))


def _draw_nostrils(face: Canvas, actor: Actor) -> None:
    base = EYE_HEIGHT + actor.nose_length
    part = face.view_around(0, base + 0.05, 0.3, 0.12)
    side = np.abs(part.u)
    part.dim(0.30 * gaussian_bump(part.u, part.v, at=(0, base + 0.085), size=(0.13, 0.035)))
    hole = gaussian_bump(
        side, part.v, at=(0.48 * actor.nose_width, base + 0.052), size=(0.036, 0.017)
    )
    part.dim(np.clip(0.95 * hole, 0, 0.80))
    wing = gaussian_bump(
        side, part.v, at=(actor.nose_width * 1.02, base + 0.030), size=(0.018, 0.035)
    )
    part.paint(to_planes(part.light) * 0.72, wing)
