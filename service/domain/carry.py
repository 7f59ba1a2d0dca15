"""Fills the frames without a face: the last face seen stands in for them.

Source: paper.md, missing frames are filled [S]. The filled frames stay marked;
before the first face there is nothing to carry, and the frame is masked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.domain.arrays import Booleans, Floats
from service.domain.clip import Frame
from service.domain.signatures import FACE_FEATURES


class LastFace:
    """Remembers the last face's features from chunk to chunk."""

    def __init__(self) -> None:
        self._features: Floats | None = None

    def fill(self, frames: Sequence[Frame], faces: Floats) -> tuple[Floats, Booleans]:
        """Spread the faces found over their frames.

        Args: faces: (N, 512), one row for each frame with a face, in order.
        Returns: visual (T, 512) and known (T,), False before the first face.
        """
        visual = np.zeros((len(frames), FACE_FEATURES), np.float32)
        known = np.zeros(len(frames), np.bool_)
        found = iter(faces)
        for row, frame in enumerate(frames):
            if frame.face is not None:
                self._features = next(found)
            if self._features is not None:
                visual[row], known[row] = self._features, True
        return visual, known
