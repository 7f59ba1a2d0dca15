"""Follows the primary face of a clip from picture to picture.

Between looks the face is followed by its mesh alone. A face counts only when the mesh
verifies it; the detector merely proposes where to measure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from service.domain.arrays import Bytes
from service.features.detector import Candidate, FaceDetector
from service.features.mesh import (
    FaceMesh,
    Mesh,
    Region,
    region_of_candidate,
    region_of_mesh,
    sighting_of,
)
from service.features.sighting import Sighting

RECHECK_PICTURES: Final = 30
"""A followed face is looked for afresh so often, in case a much larger one came in."""
SEARCH_EVERY: Final = 2
"""Without a face only every second picture is searched: searching costs ten times following."""
TAKEOVER_AREA: Final = 2.0
"""Another face becomes the primary one when its area is so many times the followed one's."""
SURE_MESH: Final = 0.98
SURE_TOGETHER: Final = 0.7
"""A face is taken up when its mesh alone is this sure, or mesh times detector are. Cartoon
animals and logos reached 0.96 and 0.62; small faces 1.0 by mesh at a detector's 0.5 to 0.7."""
MOST_CANDIDATES: Final = 4
"""Proposals that are measured in one look."""


class MeshTracker:
    """The primary face: the largest when first seen, then the same one for as long as it stays."""

    def __init__(self, models_dir: Path) -> None:
        """Raises: FaceModelsMissing."""
        self._detector = FaceDetector(models_dir)
        self._mesh = FaceMesh(models_dir)
        self._region: Region | None = None
        self._until_recheck = RECHECK_PICTURES
        self._until_search = 0

    def find(self, picture: Bytes) -> Sighting | None:
        """The primary face of the next (H, W, 3) RGB picture; None: not found or not looked for."""
        mesh = self._follow(picture)
        if mesh is None:
            mesh = self._acquire(picture)
        self._region = None if mesh is None else region_of_mesh(mesh.points)
        return None if mesh is None else sighting_of(mesh)

    def _follow(self, picture: Bytes) -> Mesh | None:
        if self._region is None:
            return None
        mesh = self._mesh.measure(picture, self._region)
        if mesh is None:
            self._until_search = 0
            return None
        self._until_recheck -= 1
        if self._until_recheck > 0:
            return mesh
        self._until_recheck = RECHECK_PICTURES
        return self._recheck(picture, mesh)

    def _recheck(self, picture: Bytes, mesh: Mesh) -> Mesh:
        """The followed face, or the one that has taken the picture over."""
        box = sighting_of(mesh).box
        larger = [
            face
            for face in self._detector.detect(picture)
            if face.area > TAKEOVER_AREA * box.width * box.height
        ]
        return self._verify(picture, larger) or mesh

    def _acquire(self, picture: Bytes) -> Mesh | None:
        self._until_search -= 1
        if self._until_search > 0:
            return None
        mesh = self._verify(picture, self._detector.detect(picture))
        if mesh is None:
            mesh = self._verify(picture, self._detector.search(picture))
        self._until_search = 0 if mesh else SEARCH_EVERY
        self._until_recheck = RECHECK_PICTURES
        return mesh

    def _verify(self, picture: Bytes, candidates: list[Candidate]) -> Mesh | None:
        for candidate in candidates[:MOST_CANDIDATES]:
            mesh = self._mesh.measure(picture, region_of_candidate(candidate))
            if mesh is not None and _is_sure(mesh.score, candidate.score):
                return mesh
        return None


def _is_sure(mesh_score: float, detector_score: float) -> bool:
    return mesh_score >= SURE_MESH or mesh_score * detector_score >= SURE_TOGETHER
