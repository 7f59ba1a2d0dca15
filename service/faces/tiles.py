"""Tiles: squares of a picture in which small faces are looked for, and cutting them out.

Tiles come in levels whose sides shrink by the same factor; the smallest ones suit faces of the
minimum height. Neighbours overlap by more than a face that their level is meant for.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from service.domain.array_types import UInt8Array
from service.domain.planar_picture import PlanarPicture

TILE_FACES: Final = 14.0
"""Side of a tile in heights of the smallest face that is reliably found in it."""
MIN_SEARCHED_PIXELS: Final = 14.0
"""Faces of less height cannot be verified: they are not looked for."""
MAX_TILES: Final = 512
"""Limit of tiles: beyond it, as in pictures over 5,000 pixels wide, the smallest tiles grow."""
_MAX_LEVEL_RATIO: Final = 2.8
"""Limit of the ratio of tile sides from level to level."""
_OVERLAP_FACES: Final = 1.1
"""Overlap of neighbours, in heights of the largest face that their level is meant for."""
_GROWTH: Final = 1.1
_FLAT_CONTRAST: Final = 12
"""Range of pixel values in a tile without anything in it, of 255."""
_CONTRAST_SAMPLES: Final = 40


class Tile(NamedTuple):
    """A square of a picture, in pixels; parts of it may be outside."""

    left: int
    top: int
    side: int


def cover_picture(height: int, width: int) -> Tile:
    """Make the square around the whole picture."""
    side = max(height, width)
    return Tile((width - side) // 2, (height - side) // 2, side)


def make_tiles(height: int, width: int, min_pixels: float) -> list[Tile]:
    """Make the tiles that find faces of `min_pixels` height, the largest tiles first.

    Faces that are found in the whole picture at once need none.
    """
    side = min_tile_side(min_pixels)
    while len(tiles := _make_levels(height, width, side)) > MAX_TILES:
        side = math.ceil(side * _GROWTH)
    return tiles


def min_tile_side(min_pixels: float) -> int:
    """Side of the tile that finds faces of `min_pixels` height."""
    return math.ceil(TILE_FACES * max(min_pixels, MIN_SEARCHED_PIXELS))


def cut_square(picture: PlanarPicture, tile: Tile, side: int) -> UInt8Array:
    """Cut a tile to (side, side, 3) RGB, black outside the picture."""
    left, top, right, bottom = clip_to_picture(picture, tile)
    scale = side / tile.side
    width, height = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    small = picture.shrink(left, top, right, bottom, (width, height))
    square = np.zeros((side, side, 3), dtype=np.uint8)
    row, column = round((top - tile.top) * scale), round((left - tile.left) * scale)
    square[row : row + height, column : column + width] = small[: side - row, : side - column]
    return square


def is_flat(picture: PlanarPicture, tile: Tile) -> bool:
    """Return whether a tile has no contrast, as a wall or a black border."""
    left, top, right, bottom = clip_to_picture(picture, tile)
    step = max(1, tile.side // _CONTRAST_SAMPLES)
    if left >= right or top >= bottom:
        return True
    rows, columns = np.arange(top, bottom, step), np.arange(left, right, step)
    sample = picture.sample(rows[:, np.newaxis], columns)
    return int(np.ptp(sample.max(axis=2))) < _FLAT_CONTRAST


def clip_to_picture(picture: PlanarPicture, tile: Tile) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part of a tile that is in the picture."""
    height, width = picture.shape
    right, bottom = min(tile.left + tile.side, width), min(tile.top + tile.side, height)
    return max(tile.left, 0), max(tile.top, 0), right, bottom


def _make_levels(height: int, width: int, smallest: int) -> list[Tile]:
    whole = max(height, width)
    levels = math.ceil(math.log(max(whole / smallest, 1.0)) / math.log(_MAX_LEVEL_RATIO))
    if not levels:
        return []
    ratio = (whole / smallest) ** (1 / levels)
    overlap = _OVERLAP_FACES * ratio / TILE_FACES
    sides = (round(whole / ratio**level) for level in range(1, levels + 1))
    return [
        Tile(left, top, side)
        for side in sides
        for top in _tile_starts(height, side, overlap)
        for left in _tile_starts(width, side, overlap)
    ]


def _tile_starts(length: int, side: int, overlap: float) -> list[int]:
    steps = max(0, math.ceil((length - side) / ((1 - overlap) * side)))
    return [round(step * (length - side) / max(steps, 1)) for step in range(steps + 1)]
