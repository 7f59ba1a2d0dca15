"""Follows the faces of a clip from picture to picture.

Between looks each face is followed by its mesh alone. Looks find newcomers: at intervals, at
a cut, and whenever a face was lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from service.domain.array_types import UInt8Array
from service.domain.snapshot_codec import State
from service.faces.active_tracks import ActiveTracks
from service.faces.detections import TrackedDetection
from service.faces.face_search import FaceSearch
from service.faces.mesh import FaceMesh, compute_bounding_box, region_from_mesh, select_landmarks

DETECTION_INTERVAL_PICTURES: Final = 30
"""Pictures from one look for newcomers to the next while somebody is followed."""
TILED_SEARCH_EVERY_DETECTIONS: Final = 6
"""At the first look, and every so many, small faces are searched for: ten times the work."""
FIRST_DETECTION_INTERVAL_PICTURES: Final = 5
"""The first of these looks comes so soon after somebody was found; the pauses then double."""
TILES_PER_PICTURE: Final = 2
"""While somebody is followed such a search is spread over pictures, so many of its tiles in each:
done at once it would hold every stream up that shares the machine."""
FACELESS_DETECTION_INTERVAL_PICTURES: Final = 2
"""Without a face only every second picture is searched."""
APPEARANCE_INTERVAL_PICTURES: Final = 10
"""Pictures from one look at everybody's appearance to the next."""
SMALL_FACE_SHARE: Final = 0.15
"""A face that is less high, as a share of the picture's longer side, is found by a search only."""
SCENE_CUT_THRESHOLD: Final = 28.0
"""Mean change of a pixel from picture to picture, of 255, that makes a cut."""
_THUMBNAIL_SIDE: Final = 24
_SAVED_ATTRIBUTES: Final = (
    *("number", "until_detection", "detection_interval", "detections"),
    *("has_lost_small", "next_tile"),
)


class MeshTracker:
    """Several faces at once, each with its track's number."""

    def __init__(self, models_dir: Path, *, max_faces: int, min_pixels: float) -> None:
        """Args: max_faces: followed at a time, the largest; min_pixels: height of a face.

        Raises: FaceModelsMissing.
        """
        self._mesh = FaceMesh(models_dir)
        self._face_search = FaceSearch(models_dir, self._mesh, min_pixels=min_pixels)
        self._active_tracks = ActiveTracks(max_faces=max_faces)
        self._min_pixels = min_pixels
        self._cut_detector = _SceneCutDetector()
        self._number = 0
        self._until_detection = 0
        self._detection_interval = FIRST_DETECTION_INTERVAL_PICTURES
        self._detections = 0
        self._has_lost_small = False
        self._next_tile: int | None = None
        """Of a search that is under way."""

    @property
    def is_crowded(self) -> bool:
        """Whether there were more faces at a time than are followed."""
        return self._active_tracks.is_crowded

    def find(self, picture: UInt8Array) -> list[TrackedDetection]:
        """The faces of the next (H, W, 3) RGB picture, those that have been there most first."""
        self._number += 1
        self._track_faces(picture)
        if self._active_tracks.resolve_overlaps(picture, self._number):
            self._schedule_detection()
        is_cut = self._cut_detector.is_cut(picture)
        self._active_tracks.check_identity_changes(picture, self._number, is_cut=is_cut)
        if is_cut:
            self._schedule_detection()
        elif self._number % APPEARANCE_INTERVAL_PICTURES == 0:
            self._active_tracks.update_appearances(picture, self._number)
        self._until_detection -= 1
        if self._until_detection <= 0:
            self._detect(picture)
        elif self._next_tile is not None:
            self._continue_search(picture, self._next_tile)
        followed = self._active_tracks.tracks
        for each in followed:
            each.identity.update_position(each.box, self._number)
        followed.sort(key=lambda each: -each.identity.pictures)
        return [
            TrackedDetection(
                track=each.identity.track,
                box=each.box,
                landmarks=select_landmarks(each.mesh.points),
            )
            for each in followed
        ]

    def save(self) -> State:
        """All that the pictures so far have left behind."""
        return {
            "company": self._active_tracks.save(),
            "scene": self._cut_detector.last_thumbnail,
            **{name: getattr(self, f"_{name}") for name in _SAVED_ATTRIBUTES},
        }

    def restore(self, state: State) -> None:
        """Go on where a tracker of the same settings was saved."""
        self._active_tracks.restore(state["company"])
        self._cut_detector.last_thumbnail = state["scene"]
        for name in _SAVED_ATTRIBUTES:
            setattr(self, f"_{name}", state[name])

    def _track_faces(self, picture: UInt8Array) -> None:
        for each in [*self._active_tracks.tracks]:
            mesh = self._mesh.measure(picture, region_from_mesh(each.mesh.points))
            if mesh is None or compute_bounding_box(mesh).height < self._min_pixels:
                self._active_tracks.end(each)
                self._schedule_detection()
                self._has_lost_small |= each.box.height < SMALL_FACE_SHARE * max(picture.shape)
            else:
                each.mesh, each.box = mesh, compute_bounding_box(mesh)

    def _schedule_detection(self) -> None:
        """Now, and then at growing intervals."""
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


class _SceneCutDetector:
    """Tells where one scene ends and another begins."""

    def __init__(self) -> None:
        self.last_thumbnail = np.zeros((0, 0, 3), np.int16)

    def is_cut(self, picture: UInt8Array) -> bool:
        """Whether this picture and the one before it have little in common."""
        step = max(1, min(picture.shape[:2]) // _THUMBNAIL_SIDE)
        now = picture[step // 2 :: step, step // 2 :: step].astype(np.int16)
        last, self.last_thumbnail = self.last_thumbnail, now
        return last.shape == now.shape and float(np.abs(now - last).mean()) > SCENE_CUT_THRESHOLD
