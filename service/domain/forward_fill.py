"""Fills a track's frames without its face: the last face seen stands in for them.

Source: paper.md, missing frames are filled [S]. The filled frames stay marked;
before the first face there is nothing to carry, and the frame is masked.
"""

from __future__ import annotations

import numpy as np

from service.domain.array_types import BoolArray, Float32Array
from service.domain.model_signatures import FACE_FEATURES


class ForwardFill:
    """Remembers the features of a track's last face from chunk to chunk."""

    __slots__ = ("_features",)

    def __init__(self) -> None:
        self._features: Float32Array | None = None

    def fill(self, detected: BoolArray, faces: Float32Array) -> tuple[Float32Array, BoolArray]:
        """Spread the faces found over their frames.

        Args: seen: (T,) which frames have the face; faces: (N, 512), one row for each of them.
        Returns: visual (T, 512) and known (T,), False before the first face.
        """
        visual = np.zeros((len(detected), FACE_FEATURES), np.float32)
        known = np.zeros(len(detected), np.bool_)
        found = iter(faces)
        for row, is_seen in enumerate(detected):
            if is_seen:
                self._features = next(found)
            if self._features is not None:
                visual[row], known[row] = self._features, True
        return visual, known
