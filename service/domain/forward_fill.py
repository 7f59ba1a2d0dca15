"""Forward fill: frames without a face take the features of the track's last one.

Source: paper.md, missing frames are filled [S]. Filled frames stay marked; frames before the first
face are masked.
"""

from __future__ import annotations

import numpy as np

from service.domain.array_types import BoolArray, Float32Array
from service.domain.model_signatures import FACE_FEATURES


class ForwardFill:
    """Fills frames in which the track's face is missing with the features of its last face."""

    __slots__ = ("last_face",)

    def __init__(self, last_face: Float32Array | None = None) -> None:
        """Continue after earlier frames.

        Args: last_face: (512,) of the frames before; None: there was no face.
        """
        self.last_face = last_face

    def fill(self, detected: BoolArray, faces: Float32Array) -> tuple[Float32Array, BoolArray]:
        """Expand the faces found to all frames.

        Args: detected: (T,) which frames have the face; faces: (N, 512), one row for each of them.
        Returns: visual (T, 512) and known (T,), False before the first face.
        """
        visual = np.zeros((len(detected), FACE_FEATURES), np.float32)
        known = np.zeros(len(detected), np.bool_)
        found = iter(faces)
        for row, is_detected in enumerate(detected):
            if is_detected:
                self.last_face = next(found)
            if self.last_face is not None:
                visual[row], known[row] = self.last_face, True
        return visual, known
