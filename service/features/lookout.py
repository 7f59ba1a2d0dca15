"""Looks a picture over for faces that nobody follows yet.

A face counts only when the mesh verifies it; the detector merely proposes where to measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from service.domain.arrays import Bytes
from service.domain.clip import MAX_FACES, FaceBox
from service.features.detector import ALL_TILES, Candidate, FaceDetector
from service.features.mesh import FaceMesh, Mesh, box_of, region_of_candidate
from service.features.people import overlap_of

SURE_MESH: Final = 0.98
SURE_TOGETHER: Final = 0.7
"""A face is taken up when its mesh alone is this sure, or mesh times detector are. Cartoon
animals and logos reached 0.96 and 0.62; small faces 1.0 by mesh at a detector's 0.5 to 0.7."""
MAX_CANDIDATES: Final = MAX_FACES
"""Proposals that are measured in one look."""
SAME_FACE: Final = 0.5
"""Boxes that share more of the smaller one are of one face."""


class Lookout:
    """Finds newcomers."""

    def __init__(self, models_dir: Path, mesh: FaceMesh, *, min_pixels: float) -> None:
        """Args: min_pixels: height of the smallest face that is taken up.

        Raises: FaceModelsMissing.
        """
        self._detector = FaceDetector(models_dir)
        self._mesh = mesh
        self._min_pixels = min_pixels

    def look(self, picture: Bytes, followed: Sequence[FaceBox]) -> list[Mesh]:
        """Newcomers that one look at the whole (H, W, 3) RGB picture shows; largest first."""
        return self._verify(picture, self._detector.detect(picture), followed)

    def search(
        self, picture: Bytes, followed: Sequence[FaceBox], tiles: slice = ALL_TILES
    ) -> list[Mesh] | None:
        """The same, small ones too: ten times the work, over all tiles of the picture.

        Args: tiles: those of this call. None: there are no such tiles.
        """
        candidates = self._detector.search(picture, tiles)
        return None if candidates is None else self._verify(picture, candidates, followed)

    def _verify(
        self, picture: Bytes, candidates: Sequence[Candidate], followed: Sequence[FaceBox]
    ) -> list[Mesh]:
        found: list[Mesh] = []
        taken = [*followed]
        free = [each for each in candidates if not _is_taken(_box(each), taken)]
        for candidate in free[:MAX_CANDIDATES]:
            mesh = self._mesh.measure(picture, region_of_candidate(candidate))
            if mesh is None or not _is_sure(mesh.score, candidate.score):
                continue
            box = box_of(mesh)
            if box.height >= self._min_pixels and not _is_taken(box, taken):
                found.append(mesh)
                taken.append(box)
        return found


def _is_taken(box: FaceBox, taken: Sequence[FaceBox]) -> bool:
    return any(overlap_of(box, other) > SAME_FACE for other in taken)


def _box(face: Candidate) -> FaceBox:
    return FaceBox(
        left=face.left, top=face.top, width=face.width, height=face.height, score=face.score
    )


def _is_sure(mesh_score: float, detector_score: float) -> bool:
    return mesh_score >= SURE_MESH or mesh_score * detector_score >= SURE_TOGETHER
