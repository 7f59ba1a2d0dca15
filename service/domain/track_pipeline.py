"""One track from features to points: filled, windowed, merged, smoothed. Nothing waits in here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array
from service.domain.clip import FaceBox, Frame, TrackedFace
from service.domain.forward_fill import ForwardFill
from service.domain.smoothing import Sample, Smoother
from service.domain.timeline import Estimate, TimelinePoint
from service.domain.windows import Features, FusionOutput, Merger, Window, Windower


@dataclass(frozen=True, slots=True, kw_only=True)
class _FusedFrame:
    """A frame and what the folds say of it: (valence, arousal), or None where nothing is known."""

    frame: Frame
    mean: tuple[float, float] | None
    spread: tuple[float, float]


class TrackPipeline:
    """Turns the features of one track into its points, in frame order.

    Call `add` for each chunk and `close` once, answering every window they yield
    with `answer`; then `finish`. A frame's point comes once nothing can change it.
    """

    __slots__ = (
        *("_first_point_frame", "_forward_fill", "_merger", "_smoother"),
        *("_track", "_unfused", "_unsmoothed", "_windower"),
    )

    def __init__(
        self,
        *,
        track: int,
        window_frames: int,
        hop_frames: int,
        smoothing_seconds: float,
        start_frame: int = 0,
        first_point_frame: int = 0,
        forward_fill: ForwardFill | None = None,
    ) -> None:
        """Args: start: the first frame to come, where a window starts; points_from: the first
        that needs a point; last_face: seen before them.
        """
        self._track = track
        self._first_point_frame = first_point_frame
        self._forward_fill = forward_fill or ForwardFill()
        self._windower = Windower(
            window_frames=window_frames, hop_frames=hop_frames, start=start_frame
        )
        self._merger = Merger(hop_frames=hop_frames)
        self._smoother = Smoother(sigma_seconds=smoothing_seconds)
        self._unfused: deque[tuple[Frame, bool]] = deque()
        self._unsmoothed: deque[_FusedFrame] = deque()

    @property
    def first_pending_frame(self) -> int | None:
        """The first frame it has that still waits for its point; None: each has its own."""
        if self._unsmoothed:
            return self._unsmoothed[0].frame.index
        return self._unfused[0][0].index if self._unfused else None

    def add(
        self, frames: Sequence[Frame], faces: Float32Array, voice: Float32Array
    ) -> Iterator[Window]:
        """Takes T frames, the track's (N, 512) faces found in them and their (T, 128) voice."""
        detected = np.array(
            [frame.find_face(self._track) is not None for frame in frames], np.bool_
        )
        visual, known = self._forward_fill.fill(detected, faces)
        self._unfused.extend(zip(frames, known.tolist(), strict=True))
        yield from self._windower.add(Features(visual=visual, audio=voice, mask=known))

    def close(self) -> Iterator[Window]:
        """The last window, if frames are left for one."""
        yield from self._windower.close()

    def add_fusion_output(self, output: FusionOutput) -> Iterator[TimelinePoint]:
        """Takes the fusion's answer for the real frames of the oldest unanswered window."""
        yield from self._smooth(self._merger.add(output))

    def finish(self) -> Iterator[TimelinePoint]:
        """The points that were waiting for neighbours that will not come."""
        yield from self._smooth(self._merger.close())
        yield from self._make_points(self._smoother.close())

    def _smooth(self, output: FusionOutput) -> Iterator[TimelinePoint]:
        for mean, spread in zip(output.mean.tolist(), output.spread.tolist(), strict=True):
            frame, known = self._unfused.popleft()
            merged = _FusedFrame(
                frame=frame, mean=tuple(mean) if known else None, spread=tuple(spread)
            )
            self._unsmoothed.append(merged)
            sample = Sample(time_seconds=frame.time_seconds, values=merged.mean)
            yield from self._make_points(self._smoother.add(sample))

    def _make_points(self, smoothed: Iterator[Sample]) -> Iterator[TimelinePoint]:
        points = map(self._make_point, smoothed)
        return (point for point in points if point.frame.index >= self._first_point_frame)

    def _make_point(self, smoothed: Sample) -> TimelinePoint:
        merged = self._unsmoothed.popleft()
        if merged.mean is None or smoothed.values is None:
            return TimelinePoint(track=self._track, frame=merged.frame, estimate=None)
        return TimelinePoint(
            track=self._track,
            frame=merged.frame,
            estimate=Estimate(
                valence=merged.mean[0],
                arousal=merged.mean[1],
                valence_std=merged.spread[0],
                arousal_std=merged.spread[1],
                valence_smoothed=smoothed.values[0],
                arousal_smoothed=smoothed.values[1],
            ),
        )


TRACK_PIPELINE_CLASSES: Final = (
    *(TrackPipeline, _FusedFrame, ForwardFill, Windower, Features, Merger, Smoother, Sample),
    *(Frame, TrackedFace, FaceBox),
)
"""All that a point maker is made of, for whoever keeps one."""
