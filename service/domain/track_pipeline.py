"""Pipeline of one track, from features to timeline points.

faces ─▶ ForwardFill ─▶ Windower ─▶ (fusion) ─▶ Merger ─▶ Smoother ─▶ TimelinePoint
faces, voice ─▶ conditions ─▶ standard deviation ──────────────────────┘
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.domain.array_types import BoolArray, Float32Array, Float64Array
from service.domain.class_probabilities import (
    ClassProbabilities,
    pack_class_probabilities,
    read_class_probabilities,
    unpack_class_probabilities,
)
from service.domain.clip import Estimate, FaceBox, Frame, TimelinePoint
from service.domain.forward_fill import ForwardFill
from service.domain.model_signatures import FACE_FEATURES
from service.domain.smoothing import Sample, Smoother, SmootherSnapshot
from service.domain.uncertainty import (
    CONDITIONS,
    UNCALIBRATED,
    ConditionTracker,
    UncertaintyModel,
)
from service.domain.windows import (
    Features,
    FusionOutput,
    Merger,
    MergerSnapshot,
    Window,
    Windower,
    WindowerSnapshot,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _FusedFrame:
    """A frame, its merged mean and its standard deviation, (valence, arousal).

    mean is None where it is masked.
    """

    frame: Frame
    mean: tuple[float, float] | None
    std: tuple[float, float]
    class_probabilities: ClassProbabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class _UnfusedFrame:
    """A frame that waits for its fusion output; conditions: as in `uncertainty.CONDITIONS`."""

    frame: Frame
    is_known: bool
    conditions: tuple[float, ...]
    class_probabilities: ClassProbabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackPipelineSnapshot:
    """State of a TrackPipeline but for its frames and features that a clip's tracks share.

    unsmoothed_*: (T,), (T, 2), (T, 2), (T, C) of the frames fused but not smoothed; unfused_*:
    (U,), (U, 4), (U, C) of those after them. The last frame is the clip's latest one.
    """

    first_point_frame: int
    class_count: int
    unsmoothed_known: BoolArray
    unsmoothed_mean: Float64Array
    unsmoothed_std: Float64Array
    unsmoothed_classes: Float32Array
    unfused_known: BoolArray
    unfused_conditions: Float64Array
    unfused_classes: Float32Array
    windower: WindowerSnapshot
    merger: MergerSnapshot
    smoother: SmootherSnapshot


class TrackPipeline:
    """Turns the features of one track into its points, in frame order.

    Call `add` for each chunk and `close` once, and `add_fusion_output` for every window they yield;
    then `finish`. A frame's point is yielded once no later frame can change it.
    """

    __slots__ = (
        *("_class_count", "_conditions", "_first_point_frame", "_forward_fill", "_merger"),
        *("_smoother", "_track", "_uncertainty", "_unfused", "_unsmoothed", "_windower"),
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
        conditions: ConditionTracker | None = None,
        uncertainty: UncertaintyModel = UNCALIBRATED,
        class_count: int = 0,
    ) -> None:
        """Create a pipeline.

        Args: start_frame: index of the first frame to be added, where a window starts;
            first_point_frame: index of the first frame that needs a point;
            forward_fill, conditions: of the track's earlier frames;
            class_count: number of the faces' features that are class probabilities.
        """
        self._track = track
        self._class_count = class_count
        self._first_point_frame = first_point_frame
        self._forward_fill = forward_fill or ForwardFill()
        self._conditions = conditions or ConditionTracker()
        self._uncertainty = uncertainty
        self._windower = Windower(
            window_frames=window_frames, hop_frames=hop_frames, start=start_frame
        )
        self._merger = Merger(hop_frames=hop_frames)
        self._smoother = Smoother(sigma_seconds=smoothing_seconds)
        self._unfused: deque[_UnfusedFrame] = deque()
        self._unsmoothed: deque[_FusedFrame] = deque()

    @property
    def pending_frames(self) -> list[Frame]:
        """The frames added whose points have not been yielded, in order."""
        return [
            *(fused.frame for fused in self._unsmoothed),
            *(unfused.frame for unfused in self._unfused),
        ]

    @property
    def first_pending_frame(self) -> int | None:
        """Index of the first of `pending_frames`; None: there is none."""
        if self._unsmoothed:
            return self._unsmoothed[0].frame.index
        return self._unfused[0].frame.index if self._unfused else None

    def add(
        self, frames: Sequence[Frame], faces: Float32Array, voice: Float32Array
    ) -> Iterator[Window]:
        """Add T frames, the track's (N, 512) faces found in them and their (T, 128) voice."""
        yield from self._add(frames, [f.find_face(self._track) for f in frames], faces, voice)

    def add_history(self, frames: Sequence[Frame], voice: Float32Array) -> Iterator[Window]:
        """Add T frames from before the track was active, whose faces were not stored."""
        no_faces = np.zeros((0, FACE_FEATURES), np.float32)
        yield from self._add(frames, [None] * len(frames), no_faces, voice)

    def _add(
        self,
        frames: Sequence[Frame],
        boxes: Sequence[FaceBox | None],
        faces: Float32Array,
        voice: Float32Array,
    ) -> Iterator[Window]:
        detected = np.array([box is not None for box in boxes], np.bool_)
        visual, known = self._forward_fill.fill(detected, faces)
        has_voice: list[bool] = self._uncertainty.detect_voice(voice).tolist()
        probabilities = iter(read_class_probabilities(faces, self._class_count))
        for frame, box, is_known, voiced in zip(frames, boxes, known, has_voice, strict=True):
            self._unfused.append(
                _UnfusedFrame(
                    frame=frame,
                    is_known=bool(is_known),
                    conditions=self._conditions.observe(frame.time_seconds, box, has_voice=voiced),
                    class_probabilities=() if box is None else next(probabilities),
                )
            )
        yield from self._windower.add(Features(visual=visual, audio=voice, mask=known))

    def close(self) -> Iterator[Window]:
        """Yield the last window, if frames are left for one."""
        yield from self._windower.close()

    def add_fusion_output(self, output: FusionOutput) -> Iterator[TimelinePoint]:
        """Add the fusion output of the real frames of the oldest unanswered window."""
        yield from self._smooth(self._merger.add(output))

    def finish(self) -> Iterator[TimelinePoint]:
        """Yield the remaining points, smoothed with the neighbours they have."""
        yield from self._smooth(self._merger.close())
        yield from self._make_points(self._smoother.close())

    def snapshot(self) -> TrackPipelineSnapshot:
        """Return the state between two calls of `add`, to be restored by `from_snapshot`."""
        means = [fused.mean or (0.0, 0.0) for fused in self._unsmoothed]
        deviations = [fused.std for fused in self._unsmoothed]
        conditions = [unfused.conditions for unfused in self._unfused]
        return TrackPipelineSnapshot(
            first_point_frame=self._first_point_frame,
            class_count=self._class_count,
            unsmoothed_known=np.array(
                [fused.mean is not None for fused in self._unsmoothed], np.bool_
            ),
            unsmoothed_mean=np.array(means, np.float64).reshape(-1, 2),
            unsmoothed_std=np.array(deviations, np.float64).reshape(-1, 2),
            unsmoothed_classes=pack_class_probabilities(
                [fused.class_probabilities for fused in self._unsmoothed]
            ),
            unfused_known=np.array([unfused.is_known for unfused in self._unfused], np.bool_),
            unfused_conditions=np.array(conditions, np.float64).reshape(-1, len(CONDITIONS)),
            unfused_classes=pack_class_probabilities(
                [unfused.class_probabilities for unfused in self._unfused]
            ),
            windower=self._windower.snapshot(),
            merger=self._merger.snapshot(),
            smoother=self._smoother.snapshot(),
        )

    @classmethod
    def from_snapshot(
        cls,
        snapshot: TrackPipelineSnapshot,
        *,
        track: int,
        window_frames: int,
        hop_frames: int,
        smoothing_seconds: float,
        forward_fill: ForwardFill,
        conditions: ConditionTracker,
        uncertainty: UncertaintyModel,
        latest_frames: Sequence[Frame],
        voice: Float32Array,
    ) -> TrackPipeline:
        """Restore a pipeline.

        Args: latest_frames: of the clip, at least those pending; voice: (T, 128) of the frames in
            the windower's buffer; the others as in the constructor.
        """
        pipeline = cls(
            track=track,
            window_frames=window_frames,
            hop_frames=hop_frames,
            smoothing_seconds=smoothing_seconds,
            first_point_frame=snapshot.first_point_frame,
            forward_fill=forward_fill,
            conditions=conditions,
            uncertainty=uncertainty,
            class_count=snapshot.class_count,
        )
        pipeline._windower = Windower.from_snapshot(
            snapshot.windower, window_frames=window_frames, hop_frames=hop_frames, voice=voice
        )
        pipeline._merger = Merger.from_snapshot(snapshot.merger, hop_frames=hop_frames)
        pipeline._smoother = Smoother.from_snapshot(
            snapshot.smoother, sigma_seconds=smoothing_seconds
        )
        pipeline._restore_pending(snapshot, latest_frames)
        return pipeline

    def _restore_pending(
        self, snapshot: TrackPipelineSnapshot, latest_frames: Sequence[Frame]
    ) -> None:
        unfused_from = len(latest_frames) - len(snapshot.unfused_known)
        unsmoothed_from = unfused_from - len(snapshot.unsmoothed_known)
        for frame, is_known, (valence, arousal), (valence_std, arousal_std), classes in zip(
            latest_frames[unsmoothed_from:unfused_from],
            snapshot.unsmoothed_known.tolist(),
            snapshot.unsmoothed_mean.tolist(),
            snapshot.unsmoothed_std.tolist(),
            unpack_class_probabilities(snapshot.unsmoothed_classes),
            strict=True,
        ):
            self._unsmoothed.append(
                _FusedFrame(
                    frame=frame,
                    mean=(valence, arousal) if is_known else None,
                    std=(valence_std, arousal_std),
                    class_probabilities=classes,
                )
            )
        for frame, is_known, conditions, classes in zip(
            latest_frames[unfused_from:],
            snapshot.unfused_known.tolist(),
            snapshot.unfused_conditions.tolist(),
            unpack_class_probabilities(snapshot.unfused_classes),
            strict=True,
        ):
            self._unfused.append(
                _UnfusedFrame(
                    frame=frame,
                    is_known=is_known,
                    conditions=tuple(conditions),
                    class_probabilities=classes,
                )
            )

    def _smooth(self, output: FusionOutput) -> Iterator[TimelinePoint]:
        rows = [self._unfused.popleft() for _ in range(len(output))]
        conditions = np.array([row.conditions for row in rows], np.float64)
        deviations = self._uncertainty.compute_std(
            output.mean, output.spread, conditions.reshape(-1, len(CONDITIONS))
        )
        for row, mean, std in zip(rows, output.mean.tolist(), deviations.tolist(), strict=True):
            fused = _FusedFrame(
                frame=row.frame,
                mean=tuple(mean) if row.is_known else None,
                std=tuple(std),
                class_probabilities=row.class_probabilities,
            )
            self._unsmoothed.append(fused)
            sample = Sample(time_seconds=row.frame.time_seconds, values=fused.mean)
            yield from self._make_points(self._smoother.add(sample))

    def _make_points(self, smoothed: Iterator[Sample]) -> Iterator[TimelinePoint]:
        points = map(self._make_point, smoothed)
        return (point for point in points if point.frame.index >= self._first_point_frame)

    def _make_point(self, smoothed: Sample) -> TimelinePoint:
        fused = self._unsmoothed.popleft()
        if fused.mean is None or smoothed.values is None:
            return TimelinePoint(track=self._track, frame=fused.frame, estimate=None)
        return TimelinePoint(
            track=self._track,
            frame=fused.frame,
            class_probabilities=fused.class_probabilities,
            estimate=Estimate(
                valence=fused.mean[0],
                arousal=fused.mean[1],
                valence_std=fused.std[0],
                arousal_std=fused.std[1],
                valence_smoothed=smoothed.values[0],
                arousal_smoothed=smoothed.values[1],
            ),
        )
