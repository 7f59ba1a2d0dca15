"""Search for faces that are not tracked: the detector proposes, and the mesh verifies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from service.domain.clip import FaceBox
from service.domain.planar_picture import PlanarPicture
from service.faces.detector import Candidate, FaceDetector
from service.faces.identity import SAME_FACE_OVERLAP, compute_overlap
from service.faces.mesh import (
    FaceMesh,
    Mesh,
    compute_bounding_box,
    region_from_candidate,
    region_from_mesh,
)
from service.faces.tiles import Tile, is_flat, make_tiles, min_tile_side

MIN_MEAN_LOGIT: Final = 6.0
"""A face is accepted by the mean of two meshes, the second in the region of the first. People had
8 to 30 from 28 pixels of height on; buttons, logos, toys and cartoons up to 5.7."""
MIN_SMALL_FACE_LOGIT: Final = 5.0
"""The same for small faces, which have less: 92 % of people at 20 pixels."""
SMALL_FACE_PIXELS: Final = 32.0
"""Limit of a small face's height."""
MIN_EXPECTED_LOGIT: Final = 1.0
"""The same for a face that is expected: where one was lost, or by the detector's score."""
MIN_PROFILE_SCORE: Final = 0.75
"""A profile, which the mesh knows less well, is expected where the detector has this score."""
MAX_CANDIDATES: Final = 48
"""Limit of candidates that are measured in one search."""
SIZE_TOLERANCE: Final = 0.1
"""Error of a small face's measured height, as a share."""
_TURNS_RADIANS: Final = (0.0, math.pi, math.pi / 2, -math.pi / 2)
"""Ways up in which a candidate is measured; the last two where the first two are no face."""
_LOST_FACE_TILE: Final = 6.0
"""Side of the tile in which a lost face is looked for, in heights of the face."""


class FaceSearch:
    """Finds faces that are not tracked yet."""

    def __init__(self, models_dir: Path, mesh: FaceMesh, *, min_pixels: float) -> None:
        """Load the detector.

        Args: min_pixels: height of the smallest face.

        Raises: FaceModelsMissing.
        """
        self._detector = FaceDetector(models_dir)
        self._mesh = mesh
        self._min_pixels = min_pixels
        self._make_tiles = lru_cache(maxsize=4)(make_tiles)

    def list_tiles(self, picture: PlanarPicture) -> Sequence[Tile]:
        """List the tiles of a thorough search, the largest first."""
        height, width = picture.shape
        return self._make_tiles(height, width, self._min_pixels)

    def _make_tile_around(self, face: FaceBox) -> Tile:
        side = max(min_tile_side(self._min_pixels), round(_LOST_FACE_TILE * face.height))
        x, y = face.left + face.width / 2, face.top + face.height / 2
        return Tile(round(x - side / 2), round(y - side / 2), side)

    def detect(
        self,
        picture: PlanarPicture,
        tracked_boxes: Sequence[FaceBox],
        tiles: Iterable[Tile] = (),
        lost_boxes: Sequence[FaceBox] = (),
    ) -> list[Mesh]:
        """Find new faces in the whole picture, and in tiles; largest first.

        Args: lost_boxes: of faces that were just lost; they are looked for where they were.
        """
        around = [self._make_tile_around(each) for each in lost_boxes]
        selected = _select_tiles(picture, [*tiles, *around], tracked_boxes)
        candidates = self._detector.detect(picture, selected)
        return self._verify(picture, candidates, tracked_boxes, lost_boxes)

    def detect_in_tiles(
        self, picture: PlanarPicture, tracked_boxes: Sequence[FaceBox], tiles: Iterable[Tile]
    ) -> list[Mesh]:
        """Find new faces in tiles only, small ones too; largest first."""
        selected = _select_tiles(picture, tiles, tracked_boxes)
        candidates = self._detector.detect_in_tiles(picture, selected)
        return self._verify(picture, candidates, tracked_boxes)

    def _verify(
        self,
        picture: PlanarPicture,
        candidates: Sequence[Candidate],
        tracked_boxes: Sequence[FaceBox],
        lost_boxes: Sequence[FaceBox] = (),
    ) -> list[Mesh]:
        found: list[Mesh] = []
        taken = [*tracked_boxes]
        for candidate in candidates[:MAX_CANDIDATES]:
            proposed = _to_face_box(candidate)
            if _overlaps_any(proposed, taken):
                continue
            min_logit = _min_logit(proposed, is_lost=_overlaps_any(proposed, lost_boxes))
            mesh = self._measure_candidate(picture, candidate, min_logit)
            if mesh is None:
                continue
            box = compute_bounding_box(mesh)
            is_large = box.height >= (1 - SIZE_TOLERANCE) * self._min_pixels
            if is_large and not _overlaps_any(box, taken):
                found.append(mesh)
                taken.append(box)
        return found

    def _measure_candidate(
        self, picture: PlanarPicture, candidate: Candidate, min_logit: float
    ) -> Mesh | None:
        """Measure a candidate the way up that fits best, and again where it was; None: no face.

        The detector finds faces that are upside down or lie on their side, but takes most of them
        for upright ones.
        """
        region = region_from_candidate(candidate)
        first: Mesh | None = None
        for turn in _TURNS_RADIANS:
            angle = region.angle_radians + turn
            mesh = self._mesh.measure(picture, replace(region, angle_radians=angle))
            if mesh is not None and (first is None or mesh.logit > first.logit):
                first = mesh
            if turn == math.pi and first is not None and first.logit >= MIN_MEAN_LOGIT:
                break
        if first is None:
            return None
        second = self._mesh.measure(picture, region_from_mesh(first.points))
        if second is None or (first.logit + second.logit) / 2 < min_logit:
            return None
        return second


def _min_logit(proposed: FaceBox, *, is_lost: bool) -> float:
    if is_lost or proposed.score >= MIN_PROFILE_SCORE:
        return MIN_EXPECTED_LOGIT
    return MIN_SMALL_FACE_LOGIT if proposed.height < SMALL_FACE_PIXELS else MIN_MEAN_LOGIT


def _select_tiles(
    picture: PlanarPicture, tiles: Iterable[Tile], tracked_boxes: Sequence[FaceBox]
) -> Iterator[Tile]:
    """Leave out tiles without contrast, and those inside a face."""
    for tile in tiles:
        if not any(_is_inside(tile, box) for box in tracked_boxes) and not is_flat(picture, tile):
            yield tile


def _is_inside(tile: Tile, box: FaceBox) -> bool:
    return (
        box.left <= tile.left
        and box.top <= tile.top
        and tile.left + tile.side <= box.left + box.width
        and tile.top + tile.side <= box.top + box.height
    )


def _overlaps_any(box: FaceBox, boxes: Sequence[FaceBox]) -> bool:
    return any(compute_overlap(box, other) > SAME_FACE_OVERLAP for other in boxes)


def _to_face_box(face: Candidate) -> FaceBox:
    return FaceBox(
        left=face.left, top=face.top, width=face.width, height=face.height, score=face.score
    )
