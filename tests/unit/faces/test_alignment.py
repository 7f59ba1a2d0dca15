"""Five points to the template: the similarity and the crop."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.array_types import Float32Array
from service.faces.alignment import ARCFACE_TEMPLATE, align_crop, estimate_similarity


def solve_naively(source: Float32Array, target: Float32Array) -> Float32Array:
    """Solve linear least squares over a, b, x, y of [[a, -b], [b, a]] p + (x, y)."""
    rows: list[list[float]] = []
    values: list[float] = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, -y, 1.0, 0.0], [y, x, 0.0, 1.0]]
        values += [u, v]
    a, b, shift_x, shift_y = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return np.array([[a, -b, shift_x], [b, a, shift_y]])


@pytest.mark.parametrize("seed", range(20))
def test_the_similarity_is_the_least_squares_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    source = random.uniform(0, 1000, (5, 2)).astype(np.float32)
    turn, scale = random.uniform(-3, 3), random.uniform(0.05, 4)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    target = (source @ linear.T + random.normal(0, 5, (5, 2))).astype(np.float32)
    # both in float64; the result is rounded to float32 of coordinates up to 4000
    assert estimate_similarity(source, target) == pytest.approx(
        solve_naively(source.astype(float), target.astype(float)), rel=1e-4, abs=1e-2
    )


def test_a_mirrored_face_is_not_mirrored_back() -> None:
    mirrored = ARCFACE_TEMPLATE * np.array([-1, 1], dtype=np.float32)
    matrix = estimate_similarity(mirrored, ARCFACE_TEMPLATE)
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.6, 7.3])
@pytest.mark.parametrize("turn", [0.0, 0.4, -2.0])
def test_the_five_points_land_on_the_template(scale: float, turn: float) -> None:
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centred = (ARCFACE_TEMPLATE - 56) * scale @ rotation.T
    points = (centred + 60 * scale * 1.5).astype(np.float32)
    side = int(60 * scale * 3) + 1
    for row in range(5):
        rows, columns = np.mgrid[:side, :side]
        spread = max(2.0 * scale, 1.0)
        away = (columns - points[row, 0]) ** 2 + (rows - points[row, 1]) ** 2
        spot = (255 * np.exp(-away / (2 * spread**2))).astype(np.uint8)
        crop = align_crop(np.stack([spot] * 3, axis=-1), points)[0].astype(float)
        rows, columns = np.mgrid[:112, :112]
        centre = [(columns * crop).sum() / crop.sum(), (rows * crop).sum() / crop.sum()]
        # a spot's centre of mass, sampled in 8 bits: a quarter of a pixel is sampling alone
        assert centre == pytest.approx(ARCFACE_TEMPLATE[row].tolist(), abs=0.25)


def test_channel_order_is_unchanged_and_the_outside_is_black() -> None:
    picture = np.zeros((112, 56, 3), dtype=np.uint8)
    picture[..., 0], picture[..., 1], picture[..., 2] = 200, 100, 50
    crop = align_crop(picture, ARCFACE_TEMPLATE)
    assert crop.shape == (3, 112, 112)
    assert crop[:, 56, 20].tolist() == [200, 100, 50]
    assert crop[:, 56, 100].tolist() == [0, 0, 0]


def test_a_face_outside_the_picture_gives_a_black_crop() -> None:
    picture = np.full((50, 50, 3), 255, dtype=np.uint8)
    assert not align_crop(picture, ARCFACE_TEMPLATE * 9 + 5000).any()
