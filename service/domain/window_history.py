"""What a track that is first seen in the middle of a clip needs of the frames before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.domain.array_types import Float32Array
from service.domain.clip import Frame
from service.domain.model_signatures import VOICE_FEATURES


class WindowHistory:
    """The frames of the oldest window that is still open, and their voice.

    A late comer that is given them has the windows it would have if it had been there, unseen,
    from the first frame: windows start on one grid for everyone.
    """

    __slots__ = ("_hop_frames", "_window_frames", "frames", "start", "voice")

    def __init__(self, *, window_frames: int, hop_frames: int) -> None:
        self._window_frames = window_frames
        self._hop_frames = hop_frames
        self.start = 0
        self.frames: list[Frame] = []
        self.voice: Float32Array = np.zeros((0, VOICE_FEATURES), np.float32)

    def add(self, frames: Sequence[Frame], voice: Float32Array) -> None:
        """Takes T frames and their (T, 128) voice; lets go what only full windows hold."""
        self.frames += frames
        self.voice = np.concatenate((self.voice, voice))
        while len(self.frames) >= self._window_frames:
            del self.frames[: self._hop_frames]
            self.voice = self.voice[self._hop_frames :]
            self.start += self._hop_frames
