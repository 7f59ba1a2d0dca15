"""Cuts a stream of frames into the windows the fusion sees, and merges its answers again.

Windows start every `hop` frames. The last one is padded to full length and
masked, so every window has the one shape the fusion was warmed with.
Source: paper.md, windows of 300 frames, hop 200, overlaps averaged [L].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from service.domain.array_types import BoolArray, Float32Array
from service.domain.model_signatures import FACE_FEATURES, TARGETS, VOICE_FEATURES


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """The embeddings of consecutive frames.

    visual: (T, 512), audio: (T, 128); known: (T,), False where no face has been seen yet.
    """

    visual: Float32Array
    audio: Float32Array
    mask: BoolArray

    def __len__(self) -> int:
        return len(self.mask)

    def cut(self, start: int, stop: int | None = None) -> Features:
        """The frames [start, stop)."""
        part = slice(start, stop)
        return Features(visual=self.visual[part], audio=self.audio[part], mask=self.mask[part])

    def join(self, later: Features) -> Features:
        """These frames, then `later`."""
        return Features(
            visual=np.concatenate((self.visual, later.visual)),
            audio=np.concatenate((self.audio, later.audio)),
            mask=np.concatenate((self.mask, later.mask)),
        )

    def pad(self, length: int) -> Features:
        """Zeros and False up to `length` frames."""
        return self.join(_make_padding(length - len(self)))


def _make_padding(length: int) -> Features:
    return Features(
        visual=np.zeros((length, FACE_FEATURES), np.float32),
        audio=np.zeros((length, VOICE_FEATURES), np.float32),
        mask=np.zeros(length, np.bool_),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """`features` of full length, of which the first `frames` are real; `start` is a frame index."""

    start: int
    frames: int
    features: Features


class Windower:
    """Collects features and yields each window as soon as its last frame is there."""

    __slots__ = ("_buffer", "_covered_frames", "_hop_frames", "_start", "_window_frames")

    def __init__(self, *, window_frames: int, hop_frames: int, start: int = 0) -> None:
        """Args: start: the first frame to come, a multiple of the hop."""
        self._window_frames = window_frames
        self._hop_frames = hop_frames
        self._start = start
        self._covered_frames = start + window_frames - hop_frames if start else 0
        self._buffer = _make_padding(0)

    def add(self, features: Features) -> Iterator[Window]:
        """The windows that `features` completes."""
        self._buffer = self._buffer.join(features)
        while len(self._buffer) >= self._window_frames:
            yield self._take(self._window_frames)

    def close(self) -> Iterator[Window]:
        """The last, padded window, if any frame is in no window yet."""
        if self._start + len(self._buffer) > self._covered_frames:
            yield self._take(len(self._buffer))

    def _take(self, frames: int) -> Window:
        features = self._buffer.cut(0, frames).pad(self._window_frames)
        window = Window(start=self._start, frames=frames, features=features)
        self._covered_frames = self._start + frames
        self._buffer = self._buffer.cut(self._hop_frames)
        self._start += self._hop_frames
        return window


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionOutput:
    """Mean and spread of the six folds, (T, 2) each, for T consecutive frames."""

    mean: Float32Array
    spread: Float32Array

    def __len__(self) -> int:
        return len(self.mean)


class Merger:
    """Averages what overlapping windows say of a frame.

    The spread of a frame in two windows is the root of its mean variance.
    """

    __slots__ = ("_hop_frames", "_mean", "_variance", "_window_counts")

    def __init__(self, *, hop_frames: int) -> None:
        self._hop_frames = hop_frames
        self._mean = np.zeros((0, len(TARGETS)))
        self._variance = np.zeros((0, len(TARGETS)))
        self._window_counts = np.zeros((0, 1))

    def add(self, output: FusionOutput) -> FusionOutput:
        """Takes the next window's answer; returns the frames no later window reaches."""
        self._extend(len(output))
        self._mean[: len(output)] += output.mean
        self._variance[: len(output)] += np.square(output.spread, dtype=np.float64)
        self._window_counts[: len(output)] += 1
        return self._release(self._hop_frames)

    def close(self) -> FusionOutput:
        """The frames still held."""
        return self._release(len(self._window_counts))

    def _extend(self, length: int) -> None:
        missing = max(0, length - len(self._window_counts))
        rows = ((0, missing), (0, 0))
        self._mean = np.pad(self._mean, rows)
        self._variance = np.pad(self._variance, rows)
        self._window_counts = np.pad(self._window_counts, rows)

    def _release(self, frames: int) -> FusionOutput:
        windows = self._window_counts[:frames]
        mean = self._mean[:frames] / windows
        spread = np.sqrt(self._variance[:frames] / windows)
        self._mean = self._mean[frames:]
        self._variance = self._variance[frames:]
        self._window_counts = self._window_counts[frames:]
        return FusionOutput(mean=mean.astype(np.float32), spread=spread.astype(np.float32))
