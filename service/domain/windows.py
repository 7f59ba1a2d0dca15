"""Windows of frames for the fusion model, and merging of its overlapping outputs.

Windows start every `hop` frames. The last one is padded to full length and
masked, so every window has the one shape the fusion was warmed with.
Source: paper.md, windows of 300 frames, hop 200, overlaps averaged [L].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.domain.array_types import BoolArray, Float32Array, Float64Array
from service.domain.clip import Frame
from service.domain.model_signatures import FACE_FEATURES, TARGETS, VOICE_FEATURES


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """The embeddings of consecutive frames.

    visual: (T, 512), audio: (T, 128); mask: (T,), False before the first face of the track.
    """

    visual: Float32Array
    audio: Float32Array
    mask: BoolArray

    def __len__(self) -> int:
        return len(self.mask)

    def cut(self, start: int, stop: int | None = None) -> Features:
        """Return the frames [start, stop)."""
        part = slice(start, stop)
        return Features(visual=self.visual[part], audio=self.audio[part], mask=self.mask[part])

    def join(self, later: Features) -> Features:
        """Return these frames followed by `later`."""
        return Features(
            visual=np.concatenate((self.visual, later.visual)),
            audio=np.concatenate((self.audio, later.audio)),
            mask=np.concatenate((self.mask, later.mask)),
        )

    def pad(self, length: int) -> Features:
        """Extend to `length` frames by zeros, masked out."""
        return self.join(_make_padding(length - len(self)))


def _make_padding(length: int) -> Features:
    return Features(
        visual=np.zeros((length, FACE_FEATURES), np.float32),
        audio=np.zeros((length, VOICE_FEATURES), np.float32),
        mask=np.zeros(length, np.bool_),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Input of the fusion model: padded features, of which the first `frames` frames are real.

    start: index of its first frame in the clip.
    """

    start: int
    frames: int
    features: Features


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowerSnapshot:
    """State of a Windower but for the audio features, which all tracks of a clip share."""

    start: int
    covered_frames: int
    visual: Float32Array
    mask: BoolArray


class Windower:
    """Buffer of features that yields each window once its last frame was added."""

    __slots__ = ("_buffer", "_covered_frames", "_hop_frames", "_start", "_window_frames")

    def __init__(self, *, window_frames: int, hop_frames: int, start: int = 0) -> None:
        """Create an empty windower.

        Args: start: index of the first frame to be added, a multiple of the hop.
        """
        self._window_frames = window_frames
        self._hop_frames = hop_frames
        self._start = start
        self._covered_frames = start + window_frames - hop_frames if start else 0
        self._buffer = _make_padding(0)

    def add(self, features: Features) -> Iterator[Window]:
        """Add features; yields the windows that they complete."""
        self._buffer = self._buffer.join(features)
        while len(self._buffer) >= self._window_frames:
            yield self._take(self._window_frames)

    def close(self) -> Iterator[Window]:
        """Yield the last, padded window, if any frame is in no window yet."""
        if self._start + len(self._buffer) > self._covered_frames:
            yield self._take(len(self._buffer))

    def snapshot(self) -> WindowerSnapshot:
        """Return the state, to be restored by `from_snapshot`."""
        return WindowerSnapshot(
            start=self._start,
            covered_frames=self._covered_frames,
            visual=self._buffer.visual,
            mask=self._buffer.mask,
        )

    @classmethod
    def from_snapshot(
        cls, snapshot: WindowerSnapshot, *, window_frames: int, hop_frames: int, voice: Float32Array
    ) -> Windower:
        """Restore a windower. voice: (T, 128) of the buffered frames."""
        windower = cls(window_frames=window_frames, hop_frames=hop_frames, start=snapshot.start)
        windower._covered_frames = snapshot.covered_frames
        windower._buffer = Features(visual=snapshot.visual, audio=voice, mask=snapshot.mask)
        return windower

    def _take(self, frames: int) -> Window:
        features = self._buffer.cut(0, frames).pad(self._window_frames)
        window = Window(start=self._start, frames=frames, features=features)
        self._covered_frames = self._start + frames
        self._buffer = self._buffer.cut(self._hop_frames)
        self._start += self._hop_frames
        return window


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionOutput:
    """Mean and spread over the six folds, (T, 2) each, of T consecutive frames."""

    mean: Float32Array
    spread: Float32Array

    def __len__(self) -> int:
        return len(self.mean)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergerSnapshot:
    """State of a Merger: sums over windows, (T, 2), (T, 2) and (T, 1)."""

    mean: Float64Array
    variance: Float64Array
    window_counts: Float64Array


class Merger:
    """Average of the fusion outputs of overlapping windows.

    The spread of a frame in two windows is the root of its mean variance.
    """

    __slots__ = ("_hop_frames", "_mean", "_variance", "_window_counts")

    def __init__(self, *, hop_frames: int) -> None:
        self._hop_frames = hop_frames
        self._mean = np.zeros((0, len(TARGETS)))
        self._variance = np.zeros((0, len(TARGETS)))
        self._window_counts = np.zeros((0, 1))

    def add(self, output: FusionOutput) -> FusionOutput:
        """Add the next window's output; returns the frames that no later window covers."""
        self._extend(len(output))
        self._mean[: len(output)] += output.mean
        self._variance[: len(output)] += np.square(output.spread, dtype=np.float64)
        self._window_counts[: len(output)] += 1
        return self._release(self._hop_frames)

    def close(self) -> FusionOutput:
        """Return the remaining frames."""
        return self._release(len(self._window_counts))

    def snapshot(self) -> MergerSnapshot:
        """Return the state, to be restored by `from_snapshot`."""
        return MergerSnapshot(
            mean=self._mean, variance=self._variance, window_counts=self._window_counts
        )

    @classmethod
    def from_snapshot(cls, snapshot: MergerSnapshot, *, hop_frames: int) -> Merger:
        """Restore a merger."""
        merger = cls(hop_frames=hop_frames)
        merger._mean = snapshot.mean.copy()
        merger._variance = snapshot.variance.copy()
        merger._window_counts = snapshot.window_counts.copy()
        return merger

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


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowHistorySnapshot:
    """State of a WindowHistory but for its frames, which are the latest ones of the clip."""

    start: int
    voice: Float32Array


class WindowHistory:
    """Frames and voice features of the oldest incomplete window.

    A track that appears late is given them, so that its windows start on the same grid as those of
    a track that was followed from the first frame.
    """

    __slots__ = ("_hop_frames", "_window_frames", "frames", "start", "voice")

    def __init__(self, *, window_frames: int, hop_frames: int) -> None:
        self._window_frames = window_frames
        self._hop_frames = hop_frames
        self.start = 0
        self.frames: list[Frame] = []
        self.voice: Float32Array = np.zeros((0, VOICE_FEATURES), np.float32)

    def add(self, frames: Sequence[Frame], voice: Float32Array) -> None:
        """Add T frames and their (T, 128) voice; drops frames that only full windows contain."""
        self.frames += frames
        self.voice = np.concatenate((self.voice, voice))
        while len(self.frames) >= self._window_frames:
            del self.frames[: self._hop_frames]
            self.voice = self.voice[self._hop_frames :]
            self.start += self._hop_frames

    def snapshot(self) -> WindowHistorySnapshot:
        """Return the state, to be restored by `from_snapshot`."""
        return WindowHistorySnapshot(start=self.start, voice=self.voice)

    @classmethod
    def from_snapshot(
        cls,
        snapshot: WindowHistorySnapshot,
        *,
        window_frames: int,
        hop_frames: int,
        latest_frames: Sequence[Frame],
    ) -> WindowHistory:
        """Restore a history. latest_frames: of the clip, at least those of the history."""
        history = cls(window_frames=window_frames, hop_frames=hop_frames)
        history.start = snapshot.start
        history.voice = snapshot.voice
        history.frames = [*latest_frames[len(latest_frames) - len(snapshot.voice) :]]
        return history
