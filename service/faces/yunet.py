"""Faces by a YuNet file of the operator's own, through OpenCV."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from service.domain.array_types import UInt8Array
from service.domain.clip import FaceBox
from service.domain.snapshot_codec import State
from service.errors import FaceModelsMissing
from service.faces.detections import TrackedDetection

SEARCH_SIDE: Final = 640
"""Faces are searched in a picture whose longer side is at most so many pixels."""
MIN_SCORE: Final = 0.7


class YuNetFinder:
    """The largest face of each picture, found anew in each; all of them are one track."""

    is_crowded = False

    def __init__(self, file: Path, *, min_pixels: float) -> None:
        """Args: min_pixels: height of a face.

        Raises: FaceModelsMissing: the file is absent or is no YuNet."""
        if not file.is_file():
            raise FaceModelsMissing("The YuNet file named in the settings cannot be read")
        self._min_pixels = min_pixels
        try:
            self._network = cv2.FaceDetectorYN.create(str(file), "", (320, 320), MIN_SCORE)
        except cv2.error as error:
            raise FaceModelsMissing("The YuNet file named in the settings is no YuNet") from error

    def save(self) -> State:
        """Nothing: each picture is looked at anew."""
        return {}

    def restore(self, state: State) -> None:
        """Go on: nothing was left behind."""

    def find(self, picture: UInt8Array) -> list[TrackedDetection]:
        """The largest face of the (H, W, 3) RGB picture, if there is one."""
        height, width = picture.shape[:2]
        scale = min(1.0, SEARCH_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        self._network.setInputSize(size)
        found = self._network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
        # OpenCV answers None where there is no face, whatever its stubs say
        rows = np.asarray([] if found is None else found, dtype=np.float32).reshape(-1, 15)  # pyright: ignore[reportUnnecessaryComparison]
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
