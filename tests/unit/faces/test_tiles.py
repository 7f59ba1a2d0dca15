"""Tiles of a thorough search: faces of the minimum height are whole in one that suits them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from service.domain.planar_picture import PlanarPicture
from service.faces.tiles import (
    MAX_TILES,
    Tile,
    cover_picture,
    cut_square,
    is_flat,
    make_tiles,
    min_tile_side,
)

MAX_SIDE_IN_FACES = 45
"""A tile of more heights of a face shows it with fewer than five of 192 pixels."""


@pytest.mark.parametrize(
    "size", [(360, 640), (720, 1280), (1080, 1920), (2160, 3840), (1920, 1080)]
)
def test_every_small_face_is_whole_in_a_tile_that_suits_it(size: tuple[int, int]) -> None:
    height, width = size
    tiles = [*make_tiles(height, width, 20.0), cover_picture(height, width)]
    random = np.random.default_rng(0)
    for _ in range(300):
        face = math.exp(random.uniform(math.log(20), math.log(height / 3)))
        left, top = random.uniform(0, width - face), random.uniform(0, height - face)
        sides = [
            tile.side
            for tile in tiles
            if tile.left <= left + 1
            and tile.top <= top + 1
            and left + face <= tile.left + tile.side + 1
            and top + face <= tile.top + tile.side + 1
        ]
        assert min(sides) <= max(MAX_SIDE_IN_FACES * face, min_tile_side(20.0))


def test_smallest_tiles_follow_the_minimum_height() -> None:
    sides = {pixels: make_tiles(1080, 1920, pixels)[-1].side for pixels in (20.0, 40.0, 60.0)}
    assert sides == {20.0: 280, 40.0: 560, 60.0: 840}
    assert make_tiles(1080, 1920, 200.0) == []


@pytest.mark.parametrize("min_pixels", [1.0, 20.0])
def test_tiles_of_the_largest_pictures_are_bounded(min_pixels: float) -> None:
    assert 0 < len(make_tiles(4320, 8192, min_pixels)) <= MAX_TILES


def test_tile_reaching_beyond_the_picture_is_black_there() -> None:
    picture = PlanarPicture.of(np.full((40, 100, 3), 200, np.uint8))
    square = cut_square(picture, cover_picture(40, 100), 50)
    assert square.shape == (50, 50, 3)
    assert (square[15:35] == 200).all()
    assert not square[:15].any()
    assert not square[35:].any()


def test_only_tiles_without_contrast_are_flat() -> None:
    pixels = np.full((300, 600, 3), 200, np.uint8)
    pixels[100:130, 400:430] = 120
    picture = PlanarPicture.of(pixels)
    assert is_flat(picture, Tile(0, 0, 280))
    assert not is_flat(picture, Tile(300, 0, 280))
    assert is_flat(picture, Tile(600, 300, 280))
