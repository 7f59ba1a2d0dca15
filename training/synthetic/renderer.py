"""Rendering of a performance: whole frames, or only the crops that serving would cut from them."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.model_signatures import CROP_SIDE
from service.faces.alignment import ARCFACE_TEMPLATE, estimate_similarity
from training.synthetic.background import render_background
from training.synthetic.camera import Camera, HeadPlacement
from training.synthetic.expression import Expression
from training.synthetic.face import ActorRenderer
from training.synthetic.landmarks import compute_landmarks
from training.synthetic.occluder_drawing import OCCLUDER_EXTENT, composite_occluder, draw_occluder
from training.synthetic.performance import Performance
from training.synthetic.shapes import Light
from training.synthetic.sprite import Sprite

_CROP_DENSITY: Final = 60.0
"""Approximate pixels of half a head height in a crop."""
_GRAIN_MARGIN: Final = 64
_CROP_GRAIN_FACTOR: Final = 0.35
"""Factor of the camera's grain after encoding and scaling to a crop."""
_RESAMPLING_BLUR_PIXELS: Final = 0.35
"""Blur of the crop's resampling."""


class PerformanceRenderer:
    """Renderer of one performance with one camera."""

    def __init__(
        self, performance: Performance, camera: Camera, *, height: int = 360, width: int = 640
    ) -> None:
        self._performance = performance
        self._camera = camera
        self._height, self._width = height, width
        self._background = render_background(performance.actor, height, width)
        self._interleaved_background = np.ascontiguousarray(self._background.transpose(1, 2, 0))
        self._grain = _draw_grain(max(height, CROP_SIDE), max(width, CROP_SIDE), performance.seed)
        self._frame_scene: _SceneRenderer | None = None
        self._crop_scene: _SceneRenderer | None = None

    def render_frame(self, expression: Expression, seconds: float) -> UInt8Array:
        """Render the camera's frame at a time, (H, W, 3) uint8 RGB."""
        view = self._place_head(seconds)
        if self._frame_scene is None:
            self._frame_scene = _SceneRenderer(self._performance, view.unit)
        light = self._background.copy()
        self._frame_scene.draw(light, view, expression, seconds)
        blur_pixels = self._camera.blur * self._height / 360
        return self._render_pixels(light, blur_pixels, self._camera.grain, seconds)

    def render_crop(self, expression: Expression, seconds: float) -> UInt8Array:
        """Render the crop that serving would cut from the frame, (112, 112, 3) uint8 RGB."""
        view = self._place_head(seconds)
        points = compute_landmarks(self._performance.actor, expression, view)
        matrix = estimate_similarity(points, ARCFACE_TEMPLATE)
        crop_view = view.transform(matrix)
        if self._crop_scene is None:
            self._crop_scene = _SceneRenderer(self._performance, _CROP_DENSITY)
        light = _warp_background(self._interleaved_background, matrix)
        self._crop_scene.draw(light, crop_view, expression, seconds)
        blur_pixels = self._camera.blur * self._height / 360 * crop_view.unit / view.unit
        blur_pixels = float(np.hypot(blur_pixels, _RESAMPLING_BLUR_PIXELS))
        return self._render_pixels(
            light, blur_pixels, _CROP_GRAIN_FACTOR * self._camera.grain, seconds
        )

    def _place_head(self, seconds: float) -> HeadPlacement:
        return self._camera.place_head(seconds, height=self._height, width=self._width)

    def _render_pixels(
        self, light: Light, blur_pixels: float, grain: float, seconds: float
    ) -> UInt8Array:
        _, height, width = light.shape
        step = round(seconds * 1_000)
        row, column = step * 37 % _GRAIN_MARGIN, step * 53 % _GRAIN_MARGIN
        plate = self._grain[row : row + height, column : column + width] * grain
        return self._camera.render_pixels(light, blur_pixels=blur_pixels, grain=plate)


class _SceneRenderer:
    """Renderer of an actor and its occluders, at one density."""

    def __init__(self, performance: Performance, density: float) -> None:
        actor = performance.actor
        self._actor_renderer = ActorRenderer(actor, density=density)
        self._occluders = [
            (
                each,
                Sprite.render(
                    lambda to, each=each: draw_occluder(to, each, actor), OCCLUDER_EXTENT, density
                ),
            )
            for each in performance.occluders
        ]

    def draw(
        self, light: Light, view: HeadPlacement, expression: Expression, seconds: float
    ) -> None:
        self._actor_renderer.draw(light, view, expression)
        for occluder, sprite in self._occluders:
            if occluder.proximity_at(seconds) > 0:
                composite_occluder(
                    self._actor_renderer.open_foreground(light, view, expression),
                    sprite,
                    occluder,
                    seconds,
                )


def _warp_background(background: Light, matrix: Float32Array) -> Light:
    size = (CROP_SIDE, CROP_SIDE)
    warped = cv2.warpAffine(background, matrix, size, borderValue=(0.0, 0.0, 0.0))
    return np.stack(cv2.split(warped)).astype(np.float32, copy=False)


def _draw_grain(height: int, width: int, seed: int) -> Float32Array:
    """Draw noise of unit variance, (H, W) plus a margin to shift it from frame to frame."""
    random = np.random.default_rng([seed, 5])
    shape = (height + _GRAIN_MARGIN, width + _GRAIN_MARGIN)
    return random.standard_normal(shape, dtype=np.float32)
