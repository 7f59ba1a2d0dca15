"""Face stage: from a picture to its frame's faces and their crops."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from service.domain.array_types import UInt8Array
from service.domain.clip import FaceBox, Frame, TrackedFace
from service.domain.model_signatures import CROP_SIDE
from service.domain.planar_picture import PlanarPicture
from service.faces.alignment import align_crop
from service.faces.detections import FaceFinder, MeshTrackerSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceStageSnapshot:
    """State of a FaceStage. shape: height and width of the first picture."""

    finder: MeshTrackerSnapshot | None
    shape: tuple[int, int] | None
    frame_count: int
    face_count: int


class FaceStage:
    """Tracks the faces of one clip; boxes are in pixels of its first picture's size."""

    def __init__(self, finder: FaceFinder) -> None:
        self._finder = finder
        self._shape: tuple[int, int] | None = None
        self.frame_count = 0
        self.face_count = 0

    @property
    def is_crowded(self) -> bool:
        """True once a picture had more faces than are tracked."""
        return self._finder.is_crowded

    def snapshot(self) -> FaceStageSnapshot:
        """Return the state after the pictures so far."""
        return FaceStageSnapshot(
            finder=self._finder.snapshot(),
            shape=self._shape,
            frame_count=self.frame_count,
            face_count=self.face_count,
        )

    def restore(self, snapshot: FaceStageSnapshot) -> None:
        """Continue from a snapshot."""
        self._finder.restore(snapshot.finder)
        self._shape = snapshot.shape
        self.frame_count, self.face_count = snapshot.frame_count, snapshot.face_count

    def find_faces(
        self, picture: PlanarPicture, time_seconds: float
    ) -> tuple[Frame, list[UInt8Array]]:
        """Return the next picture's frame, and the crop of each of its faces."""
        height, width = picture.shape
        if self._shape is None:
            self._shape = height, width
        found = self._finder.find(picture, time_seconds)
        crops = [align_crop(picture, face.landmarks) for face in found]
        down, across = self._shape[0] / height, self._shape[1] / width
        faces = tuple(
            TrackedFace(track=face.track, box=_scale(face.box, across, down)) for face in found
        )
        return self.make_frame(time_seconds, faces), crops

    def make_frame(self, time_seconds: float, faces: tuple[TrackedFace, ...]) -> Frame:
        """Make the next numbered frame from its faces."""
        frame = Frame(index=self.frame_count, time_seconds=time_seconds, faces=faces)
        self.frame_count += 1
        self.face_count += len(faces)
        return frame


class Stopwatch:
    """Stopwatch that starts when it is created."""

    def __init__(self) -> None:
        self._started_at = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Elapsed seconds."""
        return time.perf_counter() - self._started_at


def stack_crops(crops: list[UInt8Array]) -> UInt8Array:
    """Stack crops to (N, 3, 112, 112)."""
    return np.array(crops, dtype=np.uint8).reshape(-1, 3, CROP_SIDE, CROP_SIDE)


def _scale(box: FaceBox, across: float, down: float) -> FaceBox:
    return FaceBox(
        left=box.left * across,
        top=box.top * down,
        width=box.width * across,
        height=box.height * down,
        score=box.score,
    )
