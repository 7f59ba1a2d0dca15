"""Planar pictures: regions of turned, mirrored and subsampled planes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.planar_picture import PlanarPicture, Plane

MATRIX = np.array([[0.8, 0.2, -5], [-0.2, 0.8, 9]], np.float32)


def draw_noise(*shape: int) -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def draw_waves(height: int, width: int) -> UInt8Array:
    rows, columns = np.mgrid[:height, :width]
    waves = 128 + 60 * np.sin(columns / 15) + 60 * np.cos(rows / 11)
    return waves.astype(np.uint8)


def subsample(plane: UInt8Array) -> UInt8Array:
    height, width = plane.shape
    padded = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    return cv2.resize(
        padded, (padded.shape[1] // 2, padded.shape[0] // 2), interpolation=cv2.INTER_AREA
    ).astype(np.uint8)


def make_picture(channels: UInt8Array) -> PlanarPicture:
    """Make a picture of (H, W, 3) channels, the last two subsampled, that converts to them."""
    luma, *chroma = (np.ascontiguousarray(channels[..., each]) for each in range(3))
    planes = [Plane(samples=subsample(each), across=2, down=2) for each in chroma]
    return PlanarPicture([Plane(samples=luma), *planes], rgb_matrix=np.eye(3, 4, dtype=np.float32))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_turned_and_mirrored_planes_are_read_as_displayed(*, turns: int, mirrored: bool) -> None:
    coded = draw_noise(60, 90, 3)
    picture = PlanarPicture([Plane(samples=coded)], mirrored=mirrored, quarter_turns=turns)
    shown = np.ascontiguousarray(np.rot90(coded[:, ::-1] if mirrored else coded, turns))
    rows, columns = np.array([1, 5, 20]), np.array([3, 8, 50])
    assert picture.shape == shown.shape[:2]
    assert np.array_equal(picture.to_rgb(), shown)
    assert np.array_equal(picture.cut(5, 7, 20, 30), shown[7:30, 5:20])
    assert np.array_equal(picture.sample(rows, columns), shown[rows, columns])
    expected = cv2.warpAffine(shown, MATRIX, (64, 64), flags=cv2.INTER_LINEAR)
    # OpenCV places samples to 1/32 pixel
    assert np.abs(picture.warp(MATRIX, 64).astype(int) - expected).mean() < 0.1


def measure_difference(shape: tuple[int, int], matrix: Float32Array, *, averages: bool) -> float:
    """Mean difference of a region of subsampled planes from that of the whole picture."""
    channels = np.stack([draw_waves(*shape), draw_waves(*shape)[::-1], draw_waves(*shape)], axis=-1)
    expected = PlanarPicture.of(channels).warp(matrix, 64, averages=averages)
    actual = make_picture(channels).warp(matrix, 64, averages=averages)
    return float(np.abs(actual.astype(int) - expected).mean())


@pytest.mark.parametrize("shape", [(90, 120), (91, 121)])
@pytest.mark.parametrize("shift", [(5, 9), (-30.5, 9), (40, 60), (300, 0)])
@pytest.mark.parametrize("scale", [2.3, 1.0, 0.4])
def test_regions_of_subsampled_planes_are_in_place_and_black_outside(
    shape: tuple[int, int], shift: tuple[float, float], scale: float
) -> None:
    matrix = np.array([[scale, 0.1, shift[0]], [-0.1, scale, shift[1]]], np.float32)
    assert measure_difference(shape, matrix, averages=False) < 1


@pytest.mark.parametrize("shape", [(240, 320), (241, 321)])
@pytest.mark.parametrize("scale", [0.4, 0.27])
def test_averaged_regions_of_subsampled_planes_are_in_place(
    shape: tuple[int, int], scale: float
) -> None:
    matrix = np.array([[scale, 0.01, -6], [-0.01, scale, 1]], np.float32)
    assert measure_difference(shape, matrix, averages=True) < 1


def test_parts_are_averages_of_their_pixels() -> None:
    channels = np.stack([draw_waves(180, 320)] * 3, axis=-1)
    expected = cv2.resize(channels[20:160, 40:320], (40, 20), interpolation=cv2.INTER_AREA)
    actual = make_picture(channels).shrink(40, 20, 320, 160, (40, 20))
    assert np.abs(actual.astype(int) - expected).max() <= 3


def test_thinned_planes_keep_their_places() -> None:
    channels = np.stack([draw_waves(180, 320)] * 3, axis=-1)
    thinned = make_picture(channels).thin(4).to_rgb()
    assert np.abs(thinned.astype(int) - channels[2::4, 2::4]).max() <= 10
    assert np.array_equal(thinned[..., 0], channels[2::4, 2::4, 0])
