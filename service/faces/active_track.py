"""Active track: a face in the last picture, its identity, and what continuity is judged by."""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.array_types import Int64Array
from service.domain.clip import FaceBox
from service.domain.planar_picture import PlanarPicture
from service.faces.detections import ActiveTrackSnapshot
from service.faces.face_motion import FacePatch, cut_patch, follow_still, is_still
from service.faces.identity import Identity, compute_iou
from service.faces.mesh import Mesh, compute_bounding_box
from service.faces.structure import FaceStructure


@dataclass(slots=True, kw_only=True, eq=False)
class ActiveTrack:
    """A face in the last picture, and its identity."""

    identity: Identity
    mesh: Mesh
    box: FaceBox
    colours: Int64Array
    structure: FaceStructure | None
    """Of the last picture in which it had contrast."""
    overlap: float = 1.0
    """Intersection over union of the last two boxes."""
    is_doubted: bool = False
    """Whether it may have come to another face: it met one, or changed at once with its place."""
    steady_pictures: int = 0
    """Pictures in a row that hardly changed the face."""
    has_jumped: bool = False
    """Whether the last picture changed a steady face."""
    mismatches: int = 0
    """Appearance checks in a row at which it was in doubt and differed from its identity."""
    patch: FacePatch | None = None
    """Of the last picture, where the face was measured and still; None: the next is measured."""
    is_measured: bool = True
    """Whether the last picture's mesh was measured, not moved."""

    def follow_still(self, picture: PlanarPicture) -> bool:
        """Follow a still face to the next picture; return False if it is to be measured there."""
        is_steady = self.steady_pictures > 0 and not (self.is_doubted or self.has_jumped)
        if self.patch is None or not is_steady:
            return False
        mesh = follow_still(picture, self.patch, self.mesh)
        if mesh is None:
            return False
        self._take(mesh)
        self.patch, self.is_measured = None, False
        return True

    def follow(self, picture: PlanarPicture, mesh: Mesh) -> None:
        """Take the mesh that was measured in the next picture."""
        self.patch = cut_patch(picture, mesh) if is_still(self.mesh, mesh) else None
        self.is_measured = True
        self._take(mesh)

    def _take(self, mesh: Mesh) -> None:
        box = compute_bounding_box(mesh)
        self.overlap = compute_iou(self.box, box)
        self.mesh, self.box = mesh, box

    def snapshot(self) -> ActiveTrackSnapshot:
        """Return the state."""
        return ActiveTrackSnapshot(
            identity=self.identity.snapshot(),
            mesh=self.mesh,
            box=self.box,
            colours=self.colours,
            structure=self.structure,
            is_doubted=self.is_doubted,
            steady_pictures=self.steady_pictures,
            has_jumped=self.has_jumped,
            mismatches=self.mismatches,
            patch=self.patch,
        )

    @staticmethod
    def from_snapshot(snapshot: ActiveTrackSnapshot) -> ActiveTrack:
        """Make a track that continues from a snapshot."""
        return ActiveTrack(
            identity=Identity.from_snapshot(snapshot.identity),
            mesh=snapshot.mesh,
            box=snapshot.box,
            colours=snapshot.colours,
            structure=snapshot.structure,
            is_doubted=snapshot.is_doubted,
            steady_pictures=snapshot.steady_pictures,
            has_jumped=snapshot.has_jumped,
            mismatches=snapshot.mismatches,
            patch=snapshot.patch,
        )
