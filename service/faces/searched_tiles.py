"""Memory of what was searched: a tile that looks as it did then shows no new face.

A tile is compared by the mean brightness of its cells, each smaller than the smallest face that
is looked for in it. Cells at the head of a tracked person are left out, and keep what they showed
before it covered them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from service.domain.array_types import BoolArray
from service.domain.clip import FaceBox
from service.domain.planar_picture import PlanarPicture
from service.faces.detections import SearchedTile
from service.faces.tiles import Tile, clip_to_picture

CELLS: Final = 28
"""Cells along a side of a tile; the smallest face in it, a fourteenth, covers one at least."""
CHANGED_LEVELS: Final = 6
"""Change of a cell's brightness, of 255, that may be a face; noise changes it by 1 or 2."""
MAX_UNSEARCHED_SECONDS: Final = 15.0
"""Limit of the time after which a tile is searched though it did not change."""
_HEAD_ACROSS: Final = 0.3
_HEAD_UP: Final = 0.5
_HEAD_DOWN: Final = 0.2
"""Margins of a head around its face's box, in widths and heights of the box."""
_UNSEEN: Final = 0
"""Value of a cell that was never searched."""


class SearchedTiles:
    """Tiles of one clip that were searched without a new face."""

    def __init__(self) -> None:
        self._searched: dict[Tile, SearchedTile] = {}

    def clear(self) -> None:
        """Forget all: a face came or went."""
        self._searched.clear()

    def select_changed(
        self,
        picture: PlanarPicture,
        tiles: Iterable[Tile],
        tracked_boxes: Sequence[FaceBox],
        now: float,
    ) -> Iterator[Tile]:
        """Select the tiles to search, which count as searched then.

        Args: now: seconds of the media.
        """
        for tile in tiles:
            if self._update(picture, tile, tracked_boxes, now):
                yield tile

    def snapshot(self) -> tuple[SearchedTile, ...]:
        """Return the state."""
        return tuple(self._searched.values())

    def restore(self, snapshot: Iterable[SearchedTile]) -> None:
        """Continue from a snapshot."""
        self._searched = {each.tile: each for each in snapshot}

    def _update(
        self, picture: PlanarPicture, tile: Tile, tracked_boxes: Sequence[FaceBox], now: float
    ) -> bool:
        """Return whether a tile is to be searched, and record how it looks then."""
        part = clip_to_picture(picture, tile)
        cells = np.maximum(picture.shrink_luma(*part, (CELLS, CELLS)), _UNSEEN + 1)
        is_head = _mark_heads(part, tracked_boxes)
        last = self._searched.get(tile)
        if last is not None:
            change = np.abs(cells.astype(np.int16) - last.cells)
            is_changed = bool((change >= CHANGED_LEVELS)[~is_head].any())
            is_recent = 0 <= now - last.time_seconds < MAX_UNSEARCHED_SECONDS
            if is_recent and not is_changed:
                return False
        before = np.full_like(cells, _UNSEEN) if last is None else last.cells
        self._searched[tile] = SearchedTile(
            tile=tile, cells=np.where(is_head, before, cells), time_seconds=now
        )
        return True


def _mark_heads(part: tuple[int, int, int, int], boxes: Iterable[FaceBox]) -> BoolArray:
    """Mark the cells that a head reaches into, (CELLS, CELLS) bool."""
    left, top, right, bottom = part
    across, down = CELLS / (right - left), CELLS / (bottom - top)
    marked = np.zeros((CELLS, CELLS), dtype=bool)
    for box in boxes:
        margin = _HEAD_ACROSS * box.width
        columns = _to_cells(box.left - margin - left, box.width + 2 * margin, across)
        above = box.top - _HEAD_UP * box.height - top
        rows = _to_cells(above, (1 + _HEAD_UP + _HEAD_DOWN) * box.height, down)
        marked[rows, columns] = True
    return marked


def _to_cells(start: float, length: float, scale: float) -> slice:
    first, last = math.floor(start * scale), math.ceil((start + length) * scale)
    return slice(max(first, 0), max(last, 0))
