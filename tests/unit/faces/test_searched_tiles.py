"""Memory of the searched tiles: whatever may be a new face is searched, and nothing else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from service.domain.array_types import UInt8Array
from service.domain.clip import FaceBox
from service.domain.planar_picture import PlanarPicture
from service.faces.detections import SearchedTilesSnapshot
from service.faces.searched_tiles import MAX_UNSEARCHED_SECONDS, SearchedTiles
from service.faces.tiles import make_tiles
from service.serialization import decode, encode
from training.synthetic.actor import Actor
from training.synthetic.expression import Expression
from training.synthetic.face import draw_face

HEIGHT, WIDTH = 360, 640
TILES = make_tiles(HEIGHT, WIDTH, 20.0)


def draw_wall(seed: int = 0) -> UInt8Array:
    """Draw a shaded wall with the grain of a camera, which the seed changes."""
    shade = 90 + 60 * np.linspace(0, 1, WIDTH)[np.newaxis, :, np.newaxis]
    grain = np.random.default_rng(seed).normal(0, 5, (HEIGHT, WIDTH, 3))
    return np.clip(shade + grain, 0, 255).astype(np.uint8)


def add_person(picture: UInt8Array, left: int, top: int, *, face_pixels: int) -> UInt8Array:
    side = round(face_pixels / 0.45)
    drawing = draw_face(Actor.from_seed(3), Expression(), height=240, width=240)
    picture = picture.copy()
    picture[top : top + side, left : left + side] = cv2.resize(
        drawing, (side, side), interpolation=cv2.INTER_AREA
    )
    return picture


def select(searched: SearchedTiles, picture: UInt8Array, now: float, *faces: FaceBox) -> int:
    """Return how many tiles are to be searched."""
    found = searched.select_changed(PlanarPicture.of(picture), TILES, faces, now)
    return len([*found])


def test_tiles_are_searched_once_while_only_grain_changes() -> None:
    searched = SearchedTiles()
    assert select(searched, draw_wall(0), 0.0) == len(TILES)
    assert [select(searched, draw_wall(seed), seed / 2) for seed in range(1, 6)] == [0] * 5
    assert select(searched, draw_wall(6), MAX_UNSEARCHED_SECONDS) == len(TILES)


@pytest.mark.parametrize("place", range(6))
def test_smallest_face_anywhere_changes_the_tiles_it_is_in(place: int) -> None:
    searched = SearchedTiles()
    select(searched, draw_wall(0), 0.0)
    left, top = np.random.default_rng(place).integers(0, (WIDTH - 50, HEIGHT - 50))
    assert select(searched, add_person(draw_wall(1), left, top, face_pixels=20), 1.0) > 0


def test_head_of_a_tracked_person_changes_nothing_until_it_shows_something_new() -> None:
    searched = SearchedTiles()
    select(searched, draw_wall(0), 0.0)
    head = add_person(draw_wall(1), 240, 110, face_pixels=50)
    box = FaceBox(left=210, top=110, width=160, height=110, score=1.0)
    assert select(searched, head, 1.0, box) == 0
    assert select(searched, draw_wall(2), 2.0) == 0
    assert select(searched, head, 3.0) > 0


def test_forgotten_and_resized_pictures_are_searched_again() -> None:
    searched = SearchedTiles()
    select(searched, draw_wall(0), 0.0)
    searched.clear()
    assert select(searched, draw_wall(0), 1.0) == len(TILES)
    assert select(searched, draw_wall(0)[:, :600], 2.0) == len(TILES)


def test_saved_memory_selects_the_same_tiles() -> None:
    searched, resumed = SearchedTiles(), SearchedTiles()
    select(searched, draw_wall(0), 0.0)
    resumed.restore(decode(encode(searched.snapshot()), SearchedTilesSnapshot))
    changed = add_person(draw_wall(1), 20, 30, face_pixels=20)
    assert select(resumed, changed, 1.0) == select(searched, changed, 1.0) < len(TILES)
