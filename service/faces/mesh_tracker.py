"""Face tracker: follows faces by their mesh, and searches the picture for new ones.

In a search the detector proposes and the mesh verifies.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from service.domain.array_types import UInt8Array
from service.domain.clip import MAX_FACES, FaceBox
from service.faces.active_tracks import ActiveTracks
from service.faces.detections import MeshTrackerSnapshot, TrackedDetection
from service.faces.detector import ALL_TILES, Candidate, FaceDetector
from service.faces.identity import SAME_FACE_OVERLAP, compute_overlap
from service.faces.mesh import (
    FaceMesh,
    Mesh,
    compute_bounding_box,
    region_from_candidate,
    region_from_mesh,
    select_landmarks,
)
from service.faces.scene_changes import SceneChangeDetector

MIN_MESH_SCORE: Final = 0.98
MIN_COMBINED_SCORE: Final = 0.7
"""A face is accepted by the score of its mesh alone, or of mesh times detector. Cartoon
animals and logos reached 0.96 and 0.62; small faces 1.0 by mesh at a detector's 0.5 to 0.7."""
MAX_CANDIDATES: Final = MAX_FACES
"""Limit of candidates that are measured in one detection."""
DETECTION_INTERVAL_PICTURES: Final = 30
"""Pictures from one detection to the next while there are tracks."""
TILED_SEARCH_EVERY_DETECTIONS: Final = 6
"""Interval of searches for small faces, in detections, from the first: ten times the work."""
FIRST_DETECTION_INTERVAL_PICTURES: Final = 5
"""The first interval after a face was found; the intervals then double."""
TILES_PER_PICTURE: Final = 2
"""Tiles searched in each picture while there are tracks: a search of all tiles at once would delay
every stream on the machine."""
FACELESS_DETECTION_INTERVAL_PICTURES: Final = 2
"""Only every second picture is searched while there is no face."""
APPEARANCE_INTERVAL_PICTURES: Final = 10
"""Pictures from one check of all appearances to the next."""
SMALL_FACE_SHARE: Final = 0.15
"""A face of less height than this share of the picture's longer side is found in tiles only."""


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

    def detect(self, picture: UInt8Array, tracked_boxes: Sequence[FaceBox]) -> list[Mesh]:
        """Find new faces in the whole (H, W, 3) RGB picture at once; largest first."""
        return self._verify(picture, self._detector.detect(picture), tracked_boxes)

    def detect_in_tiles(
        self, picture: UInt8Array, tracked_boxes: Sequence[FaceBox], tiles: slice = ALL_TILES
    ) -> list[Mesh] | None:
        """Find new faces in tiles, small ones too: over all tiles ten times the work of `detect`.

        Args: tiles: those of this call. Returns: None: there are no such tiles.
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


class MeshTracker:
    """Tracks several faces at once."""

    def __init__(self, models_dir: Path, *, max_faces: int, min_pixels: float) -> None:
        """Load the networks.

        Args: max_faces: tracked at a time, the largest; min_pixels: height of the smallest face.

        Raises: FaceModelsMissing.
        """
        self._mesh = FaceMesh(models_dir)
        self._face_search = FaceSearch(models_dir, self._mesh, min_pixels=min_pixels)
        self._scene_changes = SceneChangeDetector()
        self._active_tracks = ActiveTracks(self._scene_changes, max_faces=max_faces)
        self._min_pixels = min_pixels
        self._number = 0
        self._until_detection = 0
        self._detection_interval = FIRST_DETECTION_INTERVAL_PICTURES
        self._detections = 0
        self._has_lost_small = False
        self._next_tile: int | None = None
        """The next tile of the search under way."""

    @property
    def is_crowded(self) -> bool:
        """True once a picture had more faces than are tracked."""
        return self._active_tracks.is_crowded

    def find(self, picture: UInt8Array) -> list[TrackedDetection]:
        """Find the faces of the next (H, W, 3) RGB picture; tracks of the most pictures first."""
        self._number += 1
        self._scene_changes.update(picture)
        if self._scene_changes.is_cut:
            self._active_tracks.leave_scene(self._number)
            self._schedule_detection()
        self._track_faces(picture)
        if self._number % APPEARANCE_INTERVAL_PICTURES == 0:
            self._active_tracks.update_appearances(picture, self._number)
        self._until_detection -= 1
        if self._until_detection <= 0:
            self._detect(picture)
        elif self._next_tile is not None:
            self._continue_search(picture, self._next_tile)
        tracks = self._active_tracks.tracks
        for each in tracks:
            each.identity.update_position(each.box, self._number)
        tracks.sort(key=lambda each: -each.identity.pictures)
        return [
            TrackedDetection(
                track=each.identity.track,
                box=each.box,
                landmarks=select_landmarks(each.mesh.points),
            )
            for each in tracks
        ]

    def snapshot(self) -> MeshTrackerSnapshot:
        """Return the state after the pictures so far."""
        return MeshTrackerSnapshot(
            active_tracks=self._active_tracks.snapshot(),
            scene_changes=self._scene_changes.snapshot(),
            number=self._number,
            until_detection=self._until_detection,
            detection_interval=self._detection_interval,
            detections=self._detections,
            has_lost_small=self._has_lost_small,
            next_tile=self._next_tile,
        )

    def restore(self, snapshot: MeshTrackerSnapshot | None) -> None:
        """Continue from a snapshot of a tracker of the same settings; None: from the start."""
        if snapshot is None:
            return
        self._active_tracks.restore(snapshot.active_tracks)
        self._scene_changes.restore(snapshot.scene_changes)
        self._number = snapshot.number
        self._until_detection = snapshot.until_detection
        self._detection_interval = snapshot.detection_interval
        self._detections = snapshot.detections
        self._has_lost_small = snapshot.has_lost_small
        self._next_tile = snapshot.next_tile

    def _track_faces(self, picture: UInt8Array) -> None:
        for each in [*self._active_tracks.tracks]:
            mesh = self._mesh.measure(picture, region_from_mesh(each.mesh.points))
            if mesh is None or compute_bounding_box(mesh).height < self._min_pixels:
                self._active_tracks.end(each, self._number)
                self._schedule_detection()
                self._has_lost_small |= each.box.height < SMALL_FACE_SHARE * max(picture.shape)
            else:
                each.follow(mesh)
        has_ended_any = self._active_tracks.resolve_overlaps(picture, self._number)
        if self._active_tracks.check_continuity(picture, self._number) or has_ended_any:
            self._schedule_detection()

    def _schedule_detection(self) -> None:
        """Detect in this picture, and then at growing intervals."""
        self._until_detection, self._detection_interval = 0, 1

    def _detect(self, picture: UInt8Array) -> None:
        boxes = [each.box for each in self._active_tracks.tracks]
        found = self._face_search.detect(picture, boxes)
        if not boxes:
            self._next_tile = None
            found = found or self._face_search.detect_in_tiles(picture, boxes) or []
        elif self._has_lost_small:
            self._next_tile, self._has_lost_small = None, False
            boxes += [compute_bounding_box(mesh) for mesh in found]
            found += self._face_search.detect_in_tiles(picture, boxes) or []
        elif self._detections % TILED_SEARCH_EVERY_DETECTIONS == 0:
            self._next_tile = 0
        self._active_tracks.start(picture, found, self._number)
        if not self._active_tracks.tracks:
            self._until_detection, self._detection_interval, self._detections = (
                FACELESS_DETECTION_INTERVAL_PICTURES,
                FIRST_DETECTION_INTERVAL_PICTURES,
                0,
            )
        else:
            self._until_detection = self._detection_interval
            self._detection_interval = min(
                2 * self._detection_interval, DETECTION_INTERVAL_PICTURES
            )
            self._detections += bool(boxes)

    def _continue_search(self, picture: UInt8Array, first_tile: int) -> None:
        last_tile = first_tile + TILES_PER_PICTURE
        boxes = [each.box for each in self._active_tracks.tracks]
        found = self._face_search.detect_in_tiles(picture, boxes, slice(first_tile, last_tile))
        self._next_tile = None if found is None else last_tile
        self._active_tracks.start(picture, found or [], self._number)
