"""Looks a picture over for faces that nobody follows yet.

A face counts only when the mesh verifies it; the detector merely proposes where to measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from service.domain.array_types import UInt8Array
from service.domain.clip import MAX_FACES, FaceBox
from service.faces.detector import ALL_TILES, Candidate, FaceDetector
from service.faces.identity import compute_overlap
from service.faces.mesh import FaceMesh, Mesh, compute_bounding_box, region_from_candidate

MIN_MESH_SCORE: Final = 0.98
MIN_COMBINED_SCORE: Final = 0.7
"""A face is taken up when its mesh alone is this sure, or mesh times detector are. Cartoon
animals and logos reached 0.96 and 0.62; small faces 1.0 by mesh at a detector's 0.5 to 0.7."""
MAX_CANDIDATES: Final = MAX_FACES
"""Proposals that are measured in one look."""
SAME_FACE_OVERLAP: Final = 0.5
"""Boxes that share more of the smaller one are of one face."""


class FaceSearch:
    """Finds newcomers."""

    def __init__(self, models_dir: Path, mesh: FaceMesh, *, min_pixels: float) -> None:
        """Args: min_pixels: height of the smallest face that is taken up.

        Raises: FaceModelsMissing.
        """
        self._detector = FaceDetector(models_dir)
        self._mesh = mesh
        self._min_pixels = min_pixels

    def detect(self, picture: UInt8Array, tracked_boxes: Sequence[FaceBox]) -> list[Mesh]:
        """Newcomers that one look at the whole (H, W, 3) RGB picture shows; largest first."""
        return self._verify(picture, self._detector.detect(picture), tracked_boxes)

    def detect_in_tiles(
        self, picture: UInt8Array, tracked_boxes: Sequence[FaceBox], tiles: slice = ALL_TILES
    ) -> list[Mesh] | None:
        """The same, small ones too: ten times the work, over all tiles of the picture.

        Args: tiles: those of this call. None: there are no such tiles.
        """
        candidates = self._detector.detect_in_tiles(picture, tiles)
        return None if candidates is None else self._verify(picture, candidates, tracked_boxes)

    def _verify(
        self, picture: UInt8Array, candidates: Sequence[Candidate], tracked_boxes: Sequence[FaceBox]
    ) -> list[Mesh]:
        found: list[Mesh] = []
        taken = [*tracked_boxes]
        free = [each for each in candidates if not _overlaps_any(_to_face_box(each), taken)]
        for candidate in free[:MAX_CANDIDATES]:
            mesh = self._mesh.measure(picture, region_from_candidate(candidate))
            if mesh is None or not _is_confident(mesh.score, candidate.score):
                continue
            box = compute_bounding_box(mesh)
            if box.height >= self._min_pixels and not _overlaps_any(box, taken):
                found.append(mesh)
                taken.append(box)
        return found


def _overlaps_any(box: FaceBox, boxes: Sequence[FaceBox]) -> bool:
    return any(compute_overlap(box, other) > SAME_FACE_OVERLAP for other in boxes)


def _to_face_box(face: Candidate) -> FaceBox:
    return FaceBox(
        left=face.left, top=face.top, width=face.width, height=face.height, score=face.score
    )


def _is_confident(mesh_score: float, detector_score: float) -> bool:
    return mesh_score >= MIN_MESH_SCORE or mesh_score * detector_score >= MIN_COMBINED_SCORE
