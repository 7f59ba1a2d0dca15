"""Choice of a clip's face finder: the mesh tracker, or a YuNet file of the operator."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from service.domain.array_types import UInt8Array
from service.domain.clip import FaceBox
from service.domain.planar_picture import PlanarPicture
from service.errors import FaceModelsMissing
from service.faces.appearance import warm_up
from service.faces.detections import FaceFinder, MeshTrackerSnapshot, TrackedDetection
from service.faces.mesh_tracker import MeshTracker

DEFAULT_MAX_FACES: Final = 12
DEFAULT_MIN_FACE_PIXELS: Final = 20.0
"""Defaults of the settings `max_faces` and `min_face_pixels`."""
_SEARCH_SIDE: Final = 640
"""YuNet searches a picture whose longer side is at most this many pixels."""
_MIN_SCORE: Final = 0.7


def open_face_finder(
    models_dir: Path,
    yunet_file: Path | None,
    *,
    max_faces: int = DEFAULT_MAX_FACES,
    min_pixels: float = DEFAULT_MIN_FACE_PIXELS,
) -> FaceFinder:
    """Open the operator's YuNet where one is set, else the mesh tracker.

    OpenCV is restricted to the calling thread: clips are decoded in parallel processes.

    Args: max_faces: tracked at a time, the largest; min_pixels: height of the smallest face.
    Raises: FaceModelsMissing.
    """
    cv2.setNumThreads(1)
    warm_up()
    if yunet_file is not None:
        return YuNetFinder(yunet_file, min_pixels=min_pixels)
    return MeshTracker(models_dir, max_faces=max_faces, min_pixels=min_pixels)


class YuNetFinder:
    """Finds the largest face of each picture by itself; all of them are one track."""

    is_crowded = False

    def __init__(self, file: Path, *, min_pixels: float) -> None:
        """Load the network.

        Args: min_pixels: height of a face.

        Raises: FaceModelsMissing: the file is absent or is no YuNet.
        """
        if not file.is_file():
            raise FaceModelsMissing("The YuNet file named in the settings cannot be read")
        self._min_pixels = min_pixels
        try:
            self._network = cv2.FaceDetectorYN.create(str(file), "", (320, 320), _MIN_SCORE)
        except cv2.error as error:
            raise FaceModelsMissing("The YuNet file named in the settings is no YuNet") from error

    def snapshot(self) -> None:
        """Return None: there is no state."""

    def restore(self, snapshot: MeshTrackerSnapshot | None) -> None:
        """Do nothing: there is no state."""

    def find(
        self,
        picture: PlanarPicture | UInt8Array,
        time_seconds: float | None = None,  # noqa: ARG002 - searches every picture
    ) -> list[TrackedDetection]:
        """Find the largest face of the picture, if there is one."""
        source = PlanarPicture.of(picture)
        height, width = source.shape
        scale = min(1.0, _SEARCH_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = source.shrink(0, 0, width, height, size)
        self._network.setInputSize(size)
        found = self._network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
        if found is None:  # pyright: ignore[reportUnnecessaryComparison]  # no face is found
            return []
        rows = np.asarray(found, dtype=np.float32).reshape(-1, 15)
        rows = rows[rows[:, 3] >= self._min_pixels * scale]
        if not len(rows):
            return []
        largest = rows[np.argmax(rows[:, 2] * rows[:, 3])]
        left, top, box_width, box_height = (float(value) / scale for value in largest[:4])
        score = float(np.clip(largest[14], 0.0, 1.0))
        box = FaceBox(left=left, top=top, width=box_width, height=box_height, score=score)
        return [
            TrackedDetection(
                track=1, box=box, landmarks=largest[4:14].reshape(5, 2) / np.float32(scale)
            )
        ]
