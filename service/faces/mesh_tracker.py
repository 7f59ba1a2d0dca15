"""Face tracker: follows faces by their mesh, and searches the picture for new ones."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from service.domain.array_types import Int16Array, UInt8Array
from service.domain.clip import MAX_FACES
from service.faces.active_tracks import ActiveTracks
from service.faces.detections import LostFace, MeshTrackerSnapshot, TrackedDetection
from service.faces.face_search import FaceSearch
from service.faces.mesh import (
    FaceMesh,
    compute_bounding_box,
    region_from_mesh,
    select_landmarks,
)
from service.faces.search_schedule import LOST_FACE_SECONDS, SearchSchedule

APPEARANCE_INTERVAL_PICTURES: Final = 10
"""Pictures from one check of all appearances to the next."""
LOST_SIZE_SHARE: Final = 0.8
"""A tracked face is lost below this share of the minimum height."""
MAX_LOST_FACES: Final = MAX_FACES
"""Limit of lost faces that are looked for where they were."""
SCENE_CUT_THRESHOLD: Final = 28.0
"""Mean change of a pixel from picture to picture, of 255, that makes a cut."""
_THUMBNAIL_SIDE: Final = 24


class MeshTracker:
    """Tracks several faces at once."""

    def __init__(self, models_dir: Path, *, max_faces: int, min_pixels: float) -> None:
        """Load the networks.

        Args: max_faces: tracked at a time, the largest; min_pixels: height of the smallest face.

        Raises: FaceModelsMissing.
        """
        self._mesh = FaceMesh(models_dir)
        self._face_search = FaceSearch(models_dir, self._mesh, min_pixels=min_pixels)
        self._active_tracks = ActiveTracks(max_faces=max_faces)
        self._min_pixels = min_pixels
        self._cut_detector = _SceneCutDetector()
        self._number = 0
        self._schedule = SearchSchedule()
        self._lost_faces: list[LostFace] = []

    @property
    def is_crowded(self) -> bool:
        """True once a picture had more faces than are tracked."""
        return self._active_tracks.is_crowded

    def find(
        self, picture: UInt8Array, time_seconds: float | None = None
    ) -> list[TrackedDetection]:
        """Find the faces of the next (H, W, 3) RGB picture; tracks of the most pictures first."""
        self._number += 1
        now = self._schedule.advance(time_seconds)
        self._track_faces(picture, now)
        if self._active_tracks.resolve_overlaps(picture, self._number):
            self._schedule.restart()
        is_cut = self._cut_detector.is_cut(picture)
        self._active_tracks.check_identity_changes(picture, self._number, is_cut=is_cut)
        if is_cut:
            self._schedule.restart(is_cut=True)
        elif self._number % APPEARANCE_INTERVAL_PICTURES == 0:
            self._active_tracks.update_appearances(picture, self._number)
        self._search(picture, now)
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
            thumbnail=self._cut_detector.last_thumbnail,
            number=self._number,
            schedule=self._schedule.snapshot(),
            lost_faces=tuple(self._lost_faces),
        )

    def restore(self, snapshot: MeshTrackerSnapshot | None) -> None:
        """Continue from a snapshot of a tracker of the same settings; None: from the start."""
        if snapshot is None:
            return
        self._active_tracks.restore(snapshot.active_tracks)
        self._cut_detector.last_thumbnail = snapshot.thumbnail
        self._number = snapshot.number
        self._schedule.restore(snapshot.schedule)
        self._lost_faces = [*snapshot.lost_faces]

    def _track_faces(self, picture: UInt8Array, now: float) -> None:
        for each in [*self._active_tracks.tracks]:
            mesh = self._mesh.measure(picture, region_from_mesh(each.mesh.points))
            box = None if mesh is None else compute_bounding_box(mesh)
            if mesh is None or box is None or box.height < LOST_SIZE_SHARE * self._min_pixels:
                self._active_tracks.end(each)
                self._schedule.restart()
                self._lost_faces.append(LostFace(box=each.box, time_seconds=now))
            else:
                each.mesh, each.box = mesh, box

    def _search(self, picture: UInt8Array, now: float) -> None:
        """Search as much of the picture as is due."""
        before = [*self._active_tracks.tracks]
        boxes = [each.box for each in before]
        all_tiles = self._face_search.list_tiles(picture)
        chosen = self._schedule.take_tiles(len(all_tiles), has_faces=bool(boxes))
        tiles = [all_tiles[each] for each in chosen]
        if self._schedule.take_detection():
            recent = now - LOST_FACE_SECONDS
            lost = [each for each in self._lost_faces if recent <= each.time_seconds <= now]
            self._lost_faces = lost[-MAX_LOST_FACES:]
            lost_boxes = [each.box for each in self._lost_faces]
            found = self._face_search.detect(picture, boxes, tiles, lost_boxes)
        else:
            found = self._face_search.detect_in_tiles(picture, boxes, tiles)
        self._active_tracks.start(picture, found, self._number)
        if self._active_tracks.tracks != before:
            self._schedule.restart()


class _SceneCutDetector:
    """Detects cuts by the mean change of a thumbnail."""

    def __init__(self) -> None:
        self.last_thumbnail: Int16Array = np.zeros((0, 0, 3), np.int16)

    def is_cut(self, picture: UInt8Array) -> bool:
        """Return whether the picture differs from the one before it by more than a threshold."""
        step = max(1, min(picture.shape[:2]) // _THUMBNAIL_SIDE)
        now = picture[step // 2 :: step, step // 2 :: step].astype(np.int16)
        last, self.last_thumbnail = self.last_thumbnail, now
        return last.shape == now.shape and float(np.abs(now - last).mean()) > SCENE_CUT_THRESHOLD
