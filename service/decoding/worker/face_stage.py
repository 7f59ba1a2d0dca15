"""The face stage: from a picture to its frame's faces and their crops."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from service.domain.array_types import UInt8Array
from service.domain.clip import FaceBox, Frame, TrackedFace
from service.domain.model_signatures import CROP_SIDE
from service.domain.snapshot_codec import State
from service.faces.alignment import align_crop
from service.faces.detections import FaceFinder


class FaceStage:
    """Follows the faces of one clip; boxes are told in pixels of its first picture's size."""

    def __init__(self, finder: FaceFinder) -> None:
        self._finder = finder
        self._shape: Sequence[int] | None = None
        self.frame_count = 0
        self.face_count = 0

    @property
    def is_crowded(self) -> bool:
        """Whether there were more faces at a time than are followed."""
        return self._finder.is_crowded

    def save(self) -> State:
        """All that the pictures so far have left behind."""
        return {
            "finder": self._finder.save(),
            "shape": self._shape,
            "frames": self.frame_count,
            "faces": self.face_count,
        }

    def restore(self, state: State) -> None:
        """Go on where another was saved."""
        self._finder.restore(state["finder"])
        self._shape = state["shape"]
        self.frame_count, self.face_count = state["frames"], state["faces"]

    def find_faces(self, pixels: UInt8Array, time_seconds: float) -> tuple[Frame, list[UInt8Array]]:
        """The next (H, W, 3) RGB picture's frame, and the crop of each of its faces."""
        if self._shape is None:
            self._shape = pixels.shape[:2]
        found = self._finder.find(pixels)
        crops = [align_crop(pixels, face.landmarks) for face in found]
        down, across = (first / own for first, own in zip(self._shape, pixels.shape, strict=False))
        faces = tuple(
            TrackedFace(track=face.track, box=_scale(face.box, across, down)) for face in found
        )
        return self.make_frame(time_seconds, faces), crops

    def make_frame(self, time_seconds: float, faces: tuple[TrackedFace, ...]) -> Frame:
        """The next frame, its faces being known."""
        frame = Frame(index=self.frame_count, time_seconds=time_seconds, faces=faces)
        self.frame_count += 1
        self.face_count += len(faces)
        return frame


class Stopwatch:
    """Measures what a stage takes, from when it is made."""

    def __init__(self) -> None:
        self._started_at = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Until now."""
        return time.perf_counter() - self._started_at


def stack_crops(crops: list[UInt8Array]) -> UInt8Array:
    """(N, 3, 112, 112)."""
    return np.array(crops, dtype=np.uint8).reshape(-1, 3, CROP_SIDE, CROP_SIDE)


def _scale(box: FaceBox, across: float, down: float) -> FaceBox:
    return FaceBox(
        left=box.left * across,
        top=box.top * down,
        width=box.width * across,
        height=box.height * down,
        score=box.score,
    )
