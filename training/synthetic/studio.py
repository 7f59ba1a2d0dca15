"""The pictures of a performance: whole ones, or only the crops that serving would cut from them."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from service.domain.arrays import Bytes, Floats
from service.domain.signatures import CROP_SIDE
from service.features.alignment import ARCFACE_TEMPLATE, estimate_similarity
from training.synthetic.camera import Camera, View
from training.synthetic.expression import Expression
from training.synthetic.face import Puppet
from training.synthetic.hands import EXTENT, draw_occluder, lay_occluder
from training.synthetic.landmarks import five_points_of
from training.synthetic.performance import Performance
from training.synthetic.room import room_light
from training.synthetic.shapes import Light
from training.synthetic.sprite import Sprite

_CROP_DENSITY: Final = 60.0
"""Pixels of half a head height in a crop, about."""
_GRAIN_ROOM: Final = 64
_GRAIN_LEFT: Final = 0.35
"""Of the camera's grain after coding and shrinking to a crop."""
_SAMPLING_BLUR: Final = 0.35
"""Pixels, of the crop's resampling."""


class Studio:
    """One performance before one camera."""

    def __init__(
        self, performance: Performance, camera: Camera, *, height: int = 360, width: int = 640
    ) -> None:
        self._performance = performance
        self._camera = camera
        self._height, self._width = height, width
        self._room = room_light(performance.actor, height, width)
        self._interleaved_room = np.ascontiguousarray(self._room.transpose(1, 2, 0))
        self._grain = _grain_plate(max(height, CROP_SIDE), max(width, CROP_SIDE), performance.seed)
        self._whole: _Cast | None = None
        self._close: _Cast | None = None

    def picture(self, expression: Expression, seconds: float) -> Bytes:
        """(H, W, 3) uint8 RGB, what the camera sees at a moment."""
        view = self._view(seconds)
        if self._whole is None:
            self._whole = _Cast(self._performance, view.unit)
        light = self._room.copy()
        self._whole.draw(light, view, expression, seconds)
        blur_pixels = self._camera.blur * self._height / 360
        return self._develop(light, blur_pixels, self._camera.grain, seconds)

    def crop(self, expression: Expression, seconds: float) -> Bytes:
        """(112, 112, 3) uint8 RGB, what serving would cut from the picture, drawn at once."""
        view = self._view(seconds)
        points = five_points_of(self._performance.actor, expression, view)
        matrix = estimate_similarity(points, ARCFACE_TEMPLATE)
        seen = view.through(matrix)
        if self._close is None:
            self._close = _Cast(self._performance, _CROP_DENSITY)
        light = _warped(self._interleaved_room, matrix)
        self._close.draw(light, seen, expression, seconds)
        blur_pixels = self._camera.blur * self._height / 360 * seen.unit / view.unit
        blur_pixels = float(np.hypot(blur_pixels, _SAMPLING_BLUR))
        return self._develop(light, blur_pixels, _GRAIN_LEFT * self._camera.grain, seconds)

    def points(self, expression: Expression, seconds: float) -> Floats:
        """(5, 2) pixels of the picture: where the five points of the face lie."""
        return five_points_of(self._performance.actor, expression, self._view(seconds))

    def _view(self, seconds: float) -> View:
        return self._camera.view(seconds, height=self._height, width=self._width)

    def _develop(self, light: Light, blur_pixels: float, grain: float, seconds: float) -> Bytes:
        _, height, width = light.shape
        step = round(seconds * 1_000)
        row, column = step * 37 % _GRAIN_ROOM, step * 53 % _GRAIN_ROOM
        plate = self._grain[row : row + height, column : column + width] * grain
        return self._camera.develop(light, blur_pixels=blur_pixels, grain=plate)


class _Cast:
    """The puppet and what comes before its face, at one density."""

    def __init__(self, performance: Performance, density: float) -> None:
        actor = performance.actor
        self._puppet = Puppet(actor, density=density)
        self._occluders = [
            (each, Sprite.of(lambda to, each=each: draw_occluder(to, each, actor), EXTENT, density))
            for each in performance.occluders
        ]

    def draw(self, light: Light, view: View, expression: Expression, seconds: float) -> None:
        self._puppet.draw(light, view, expression)
        for occluder, sprite in self._occluders:
            if occluder.nearness(seconds) > 0:
                lay_occluder(
                    self._puppet.stand_before(light, view, expression), sprite, occluder, seconds
                )


def _warped(room: Light, matrix: Floats) -> Light:
    size = (CROP_SIDE, CROP_SIDE)
    seen = cv2.warpAffine(room, matrix, size, borderValue=(0.0, 0.0, 0.0))
    return np.stack(cv2.split(seen)).astype(np.float32, copy=False)


def _grain_plate(height: int, width: int, seed: int) -> Floats:
    """(H, W) noise of unit spread, with room to shift it from frame to frame."""
    random = np.random.default_rng([seed, 5])
    shape = (height + _GRAIN_ROOM, width + _GRAIN_ROOM)
    return random.standard_normal(shape, dtype=np.float32)
