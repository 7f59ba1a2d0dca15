"""Casts with known people: one person in one shot, and several who must not become one.

A cast is named by what happens in it. Those of `one_person_casts` have one person in one shot, or
in shots of one scene; `several_people_casts` have cuts, dissolves, insets and meetings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import cv2
import numpy as np

from service.domain.array_types import UInt8Array
from tests.casts.edits import (
    compress,
    cover,
    dissolve,
    edit,
    fade,
    inset,
    monochrome,
    scale_light,
    side_by_side,
    to_pixels,
    wipe,
    zoom,
)
from tests.casts.shot import Shot

MakeCast = Callable[[], Shot]
_SKIN: Final = (196, 150, 128)
_GREY: Final = (128, 128, 128)
_BLACK: Final = 0.0
_WHITE: Final = 255.0


def one_person_casts(shot: Shot) -> Mapping[str, MakeCast]:
    """Name the casts made of one shot of one person."""
    size = len(shot)
    centre = (0.3, 0.15, 0.7, 0.85)
    return {
        "unedited": lambda: shot,
        "fade from white": lambda: fade(shot, _WHITE, lambda at: _ramp(at, 0.0, 0.4)),
        "fade to black": lambda: fade(shot, _BLACK, lambda at: _ramp(at, 0.95, 0.5)),
        "fade to black and back": lambda: fade(shot, _BLACK, _dip),
        "fade to white and back": lambda: fade(shot, _WHITE, _dip),
        "fade half to white and back": lambda: fade(shot, _WHITE, lambda at: 0.7 * _dip(at)),
        "white flash": lambda: fade(shot, _WHITE, lambda at: float(_is_picture(at, size, 0.5))),
        "black pictures": lambda: fade(shot, _BLACK, lambda at: float(0.5 <= at < 0.53)),
        "warmer at once": lambda: scale_light(shot, _step((1.15, 0.85, 0.55))),
        "colder at once": lambda: scale_light(shot, _step((0.6, 0.9, 1.2))),
        "darker at once": lambda: scale_light(shot, _step((0.4, 0.4, 0.4))),
        "brighter at once": lambda: scale_light(shot, _step((1.7, 1.7, 1.7))),
        "dusk": lambda: scale_light(shot, lambda at: (1 - 0.8 * at, 1 - 0.75 * at, 1 - 0.6 * at)),
        "coloured lights": lambda: scale_light(shot, _cycle_colours),
        "light on and off": lambda: scale_light(
            shot, lambda at: _grey(0.3 if int(at * 6) % 2 else 1.0)
        ),
        "flicker": lambda: scale_light(shot, lambda at: _grey(0.6 + 0.4 * math.cos(2 * size * at))),
        "stroboscope": lambda: scale_light(
            shot, lambda at: _grey(0.2 if int(at * size) % 3 == 0 else 1.0)
        ),
        "grey half-way": lambda: monochrome(shot, start=0.5),
        "gamma changes": lambda: edit(
            shot, lambda p, at: _gamma(p, 2.2 if 0.3 < at < 0.7 else 1.0)
        ),
        "negative flash": lambda: edit(
            shot, lambda p, at: (255 - p).astype(np.uint8) if _is_picture(at, size, 0.5) else p
        ),
        "hand before the mouth": lambda: cover(
            shot, (0.4, 0.55, 0.65, 1.0), _SKIN, start=0.4, end=0.8
        ),
        "hand before the face": lambda: cover(
            shot, (0.38, 0.2, 0.65, 0.9), _SKIN, start=0.4, end=0.7
        ),
        "box before the face, short": lambda: cover(shot, centre, _GREY, start=0.4, end=0.5),
        "box before the face, long": lambda: cover(shot, centre, _GREY, start=0.3, end=0.8),
        "head and body hidden": lambda: cover(
            shot, (0.0, 0.0, 1.0, 1.0), _GREY, start=0.4, end=0.7
        ),
        "blurred": lambda: edit(
            shot, lambda p, at: cv2.GaussianBlur(p, (0, 0), 4).astype(np.uint8) if at > 0.5 else p
        ),
        "compressed": lambda: edit(shot, lambda p, at: compress(p, 8) if at > 0.5 else p),
        "noise": lambda: edit(shot, _add_noise),
        "zoom in": lambda: zoom(shot, lambda at: (0.5, 0.47, 1 - 0.45 * at)),
        "zoom at once": lambda: zoom(shot, lambda at: (0.5, 0.47, 0.7 if at > 0.5 else 1.0)),
        "pan": lambda: zoom(shot, lambda at: (0.5 + 0.12 * math.sin(7 * at), 0.5, 0.7)),
        "shaken": lambda: zoom(
            shot,
            lambda at: (0.5 + 0.03 * math.sin(90 * at), 0.48 + 0.03 * math.sin(77 * at), 0.8),
        ),
        "jump cut": lambda: shot[: size // 3] + shot[2 * size // 3 :],
        "jump cut with other light": lambda: scale_light(
            shot[: size // 3] + shot[2 * size // 3 :], _step((1.2, 0.9, 0.6))
        ),
        "every fifth picture": lambda: shot[::5],
        "every fifth picture, warmer": lambda: scale_light(shot[::5], _step((1.15, 0.85, 0.55))),
        "dissolve to itself": lambda: dissolve(shot[: size // 2], shot[size // 2 :], size // 5),
        "caption": lambda: cover(shot, (0.0, 0.8, 1.0, 1.0), (240, 230, 40), start=0.5, end=0.9),
    }


def several_people_casts(one: Shot, other: Shot, third: Shot) -> Mapping[str, MakeCast]:
    """Name the casts made of three shots of a person each, of equal length."""
    half, part = len(one) // 2, len(one) // 3
    blank = fade(one, _WHITE, lambda _: 1.0)[:1]
    dark = tuple(fade(one, _BLACK, lambda _: 1.0)[:1]) * 6
    both = side_by_side(one, other)
    swapped = side_by_side(other, one)
    return {
        "shot and counter-shot": lambda: _alternate(one, other, part // 2),
        "shot and counter-shot, grey": lambda: monochrome(_alternate(one, other, part // 2)),
        "shot and counter-shot, short": lambda: _alternate(one, other, 8),
        "shot and counter-shot, every fifth picture": lambda: _alternate(one[::5], other[::5], 5),
        "one cut": lambda: one[:half] + other[half:],
        "cut, late": lambda: one[: len(one) - part] + other[:part],
        "cut after a white flash": lambda: one[:half] + blank + other[half:],
        "cut into other light": lambda: (
            one[:half] + scale_light(other, lambda _: (0.6, 0.5, 0.4))[half:]
        ),
        "cut to another face in the dark": lambda: scale_light(
            one[:half] + other[half:], lambda _: (0.25, 0.25, 0.25)
        ),
        "black between": lambda: one[:half] + dark + other[half:],
        "fade through black": lambda: fade(one[:half] + other[half:], _BLACK, _dip),
        "fade through white": lambda: fade(one[:half] + other[half:], _WHITE, _dip),
        "dissolve, 6 pictures": lambda: dissolve(one[:half], other[half:], 6),
        "dissolve, 12 pictures": lambda: dissolve(one[:half], other[: half + 12], 12),
        "dissolve, 25 pictures": lambda: dissolve(one[: half + 12], other[half - 12 :], 25),
        "dissolve, 40 pictures": lambda: dissolve(one[: half + 20], other[: half + 20], 40),
        "dissolve, grey": lambda: monochrome(dissolve(one[: half + 12], other[half - 12 :], 25)),
        "wipe": lambda: wipe(one[: half + 6], other[half - 6 :], 12),
        "seats swapped over a cut": lambda: both[:half] + swapped[half:],
        "seats swapped over a cut, warmer": lambda: (
            both[:half] + scale_light(swapped, lambda _: (1.15, 0.85, 0.6))[half:]
        ),
        "two, light changes": lambda: scale_light(both, _step((1.15, 0.8, 0.55))),
        "two, fade to black and back": lambda: fade(both, _BLACK, _dip),
        "two, flicker": lambda: scale_light(both, lambda at: _grey(0.6 + 0.4 * math.cos(200 * at))),
        "one half changes": lambda: both[:half] + side_by_side(one, third)[half:],
        "inset cuts": lambda: inset(
            one, other[:half] + third[half:], left=0.66, top=0.62, share=0.34
        ),
        "inset dissolves": lambda: inset(
            one, dissolve(other[:half], third[half - 12 :], 12), left=0.0, top=0.62, share=0.34
        ),
        "three in turn": lambda: one[:part] + other[:part] + third[:part] + one[part:],
    }


def _alternate(one: Shot, other: Shot, run: int) -> Shot:
    """Cut to and fro every `run` pictures."""
    return tuple(
        (other if index // run % 2 else one)[index] for index in range(min(len(one), len(other)))
    )


def _ramp(at: float, one: float, zero: float) -> float:
    """Share that changes linearly from 1 at one place to 0 at another."""
    return min(max((at - zero) / (one - zero), 0.0), 1.0)


def _dip(at: float) -> float:
    """Rise from 0 to 1 around the middle of the shot, and fall again."""
    return min(max(1.3 - 6 * abs(at - 0.5), 0.0), 1.0)


def _grey(gain: float) -> tuple[float, float, float]:
    return gain, gain, gain


def _step(gains: tuple[float, float, float]) -> Callable[[float], tuple[float, float, float]]:
    return lambda at: gains if at >= 0.5 else (1.0, 1.0, 1.0)


def _cycle_colours(at: float) -> tuple[float, float, float]:
    red, green, blue = (0.65 + 0.35 * math.cos(12 * at + shift) for shift in (0.0, 2.1, 4.2))
    return red, green, blue


def _is_picture(at: float, size: int, place: float) -> bool:
    return round(at * (size - 1)) == round(place * (size - 1))


def _gamma(pixels: UInt8Array, exponent: float) -> UInt8Array:
    return to_pixels(255 * (pixels / np.float32(255)) ** np.float32(exponent))


def _add_noise(pixels: UInt8Array, at: float) -> UInt8Array:
    noise = np.random.default_rng(int(at * 1e6)).normal(0, 25 * at, pixels.shape)
    return to_pixels(pixels + noise.astype(np.float32))
