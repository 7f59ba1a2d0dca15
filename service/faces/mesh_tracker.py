"""Face tracker: follows faces by their mesh, and searches the picture for new ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from service.domain.array_types import UInt8Array
from service.domain.clip import MAX_FACES, FaceBox
from service.domain.planar_picture import PlanarPicture
from service.faces.active_tracks import ActiveTracks
from service.faces.detections import LostFace, MeshTrackerSnapshot, TrackedDetection
from service.faces.face_search import FaceSearch
from service.faces.mesh import (
    FaceMesh,
    compute_bounding_box,
    region_from_mesh,
    select_landmarks,
)
from service.faces.scene_changes import SceneChangeDetector
from service.faces.search_schedule import LOST_FACE_SECONDS, SearchSchedule
from service.faces.searched_tiles import SearchedTiles
from service.faces.tiles import cover_picture

APPEARANCE_INTERVAL_PICTURES: Final = 10
"""Pictures from one check of all appearances to the next."""
LOST_SIZE_SHARE: Final = 0.8
"""A tracked face is lost below this share of the minimum height."""
MAX_LOST_FACES: Final = MAX_FACES
"""Limit of lost faces that are looked for where they were."""


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
        self._schedule = SearchSchedule()
        self._searched_tiles = SearchedTiles()
        self._lost_faces: list[LostFace] = []

    @property
    def is_crowded(self) -> bool:
        """True once a picture had more faces than are tracked."""
        return self._active_tracks.is_crowded

    def find(
        self, picture: PlanarPicture | UInt8Array, time_seconds: float | None = None
    ) -> list[TrackedDetection]:
        """Find the faces of the next picture; tracks of the most pictures first."""
        picture = PlanarPicture.of(picture)
        self._number += 1
        now = self._schedule.advance(time_seconds)
        self._scene_changes.update(picture)
        if self._scene_changes.is_cut:
            self._active_tracks.leave_scene(self._number)
            self._restart_search(is_cut=True)
        self._track_faces(picture, now)
        if self._number % APPEARANCE_INTERVAL_PICTURES == 0:
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
            scene_changes=self._scene_changes.snapshot(),
            number=self._number,
            schedule=self._schedule.snapshot(),
            lost_faces=tuple(self._lost_faces),
            searched_tiles=self._searched_tiles.snapshot(),
        )

    def restore(self, snapshot: MeshTrackerSnapshot | None) -> None:
        """Continue from a snapshot of a tracker of the same settings; None: from the start."""
        if snapshot is None:
            return
        self._active_tracks.restore(snapshot.active_tracks)
        self._scene_changes.restore(snapshot.scene_changes)
        self._number = snapshot.number
        self._schedule.restore(snapshot.schedule)
        self._lost_faces = [*snapshot.lost_faces]
        self._searched_tiles.restore(snapshot.searched_tiles)

    def _track_faces(self, picture: PlanarPicture, now: float) -> None:
        for each in [*self._active_tracks.tracks]:
            if each.follow_still(picture):
                continue
            mesh = self._mesh.measure(picture, region_from_mesh(each.mesh.points))
            box = None if mesh is None else compute_bounding_box(mesh)
            if mesh is None or box is None or box.height < LOST_SIZE_SHARE * self._min_pixels:
                self._active_tracks.end(each, self._number)
                self._restart_search()
                self._lost_faces.append(LostFace(box=each.box, time_seconds=now))
            else:
                each.follow(picture, mesh)
        has_ended_any = self._active_tracks.resolve_overlaps(picture, self._number)
        if self._active_tracks.check_continuity(picture, self._number) or has_ended_any:
            self._restart_search()

    def _restart_search(self, *, is_cut: bool = False) -> None:
        """Search often, and what was searched before, too: a face may be without a track now."""
        self._schedule.restart(is_cut=is_cut)
        self._searched_tiles.clear()

    def _search(self, picture: PlanarPicture, now: float) -> None:
        """Search as much of the picture as is due and has changed."""
        before = [*self._active_tracks.tracks]
        boxes = [each.box for each in before]
        recent = now - LOST_FACE_SECONDS
        lost = [each for each in self._lost_faces if recent <= each.time_seconds <= now]
        self._lost_faces = lost[-MAX_LOST_FACES:]
        all_tiles = self._face_search.list_tiles(picture)
        chosen = self._schedule.take_tiles(len(all_tiles), has_faces=bool(boxes))
        tiles = [all_tiles[each] for each in chosen]
        changed = self._searched_tiles.select_changed(picture, tiles, boxes, now)
        if self._takes_detection(picture, boxes, now):
            lost_boxes = [each.box for each in self._lost_faces]
            found = self._face_search.detect(picture, boxes, changed, lost_boxes)
        else:
            found = self._face_search.detect_in_tiles(picture, boxes, changed)
        self._active_tracks.start(picture, found, self._number)
        if any(each not in self._active_tracks.tracks for each in before):
            self._restart_search()
        elif len(self._active_tracks.tracks) > len(before):
            self._schedule.restart()

    def _takes_detection(
        self, picture: PlanarPicture, boxes: Sequence[FaceBox], now: float
    ) -> bool:
        """Return whether the whole picture is to be searched: while it settles, or has changed."""
        if not self._schedule.take_detection(has_faces=bool(boxes)):
            return False
        whole = [cover_picture(*picture.shape)]
        has_changed = any(self._searched_tiles.select_changed(picture, whole, boxes, now))
        return has_changed or self._schedule.is_settling or bool(self._lost_faces)
