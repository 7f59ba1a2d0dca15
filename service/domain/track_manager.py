"""Tracks of a clip: windows, fuses and smooths each of them on one window grid, in bounded memory.

Which track is the primary one is known only at the end, so each is processed as if it were. A track
that has been absent for long is suspended: it has no points until it returns. The primary track so
far is never suspended, so that its points reach the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from service.domain.array_types import Float32Array
from service.domain.clip import MAX_FACES, Frame, FramesSnapshot, TimelinePoint, TrackStatistics
from service.domain.forward_fill import ForwardFill
from service.domain.track_pipeline import TrackPipeline, TrackPipelineSnapshot
from service.domain.uncertainty import UNCALIBRATED, ConditionTracker, UncertaintyModel
from service.domain.windows import Window, WindowHistory, WindowHistorySnapshot

SUSPEND_AFTER_WINDOWS: Final = 5
"""Windows of absence after which a track is suspended."""
MIN_TRACK_FRAMES: Final = 5
MIN_TRACK_SHARE: Final = 0.1
"""A track seen in fewer frames, and in a smaller share of the clip, is dropped as no person."""
MAX_ACTIVE_TRACKS: Final = 2 * MAX_FACES
"""Tracks with a pipeline. Beyond them the track absent for longest is suspended early."""
MAX_TRACKS: Final = 128
"""Tracks of one clip. Beyond them the suspended track of the lowest rank is dropped."""

FusionRequests = Iterator[tuple[TrackPipeline, Window]]
"""Windows, each with the pipeline that takes its fusion output before the next is requested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackSnapshot:
    """State of one track. last_face: (512,); pipeline: None where the track is suspended."""

    track: int
    statistics: TrackStatistics
    finalized_frames: int
    last_face: Float32Array | None
    conditions: ConditionTracker
    pipeline: TrackPipelineSnapshot | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackManagerSnapshot:
    """State of a TrackManager.

    frame_count: of the clip; frames: its latest ones, as many as any track needs.
    """

    window_frames: int
    hop_frames: int
    smoothing_seconds: float
    class_count: int
    frame_count: int
    frames: FramesSnapshot
    history: WindowHistorySnapshot
    tracks: tuple[TrackSnapshot, ...]
    is_crowded: bool


@dataclass(slots=True, kw_only=True)
class _TrackEntry:
    """State of one track, active or suspended."""

    statistics: TrackStatistics
    forward_fill: ForwardFill = field(default_factory=ForwardFill)
    conditions: ConditionTracker = field(default_factory=ConditionTracker)
    pipeline: TrackPipeline | None = None
    """Pipeline of an active track; None: the track is suspended."""
    finalized_frames: int = 0
    """Frames of the clip before which the track's points are complete."""


class TrackManager:
    """The tracks of one clip.

    Call `add` for each chunk and `close` once, adding the fusion output of every window they
    yield; after each of them take the final points and the dropped tracks.
    """

    __slots__ = (
        *("_dropped", "_finished_pipelines", "_frames", "_history", "_hop_frames", "_is_closed"),
        *("_smoothing_seconds", "_tracks", "_window_frames", "class_count", "is_crowded"),
        "uncertainty",
    )

    def __init__(
        self,
        *,
        window_frames: int,
        hop_frames: int,
        smoothing_seconds: float,
        uncertainty: UncertaintyModel = UNCALIBRATED,
        class_count: int = 0,
    ) -> None:
        self._window_frames = window_frames
        self._hop_frames = hop_frames
        self._smoothing_seconds = smoothing_seconds
        self.uncertainty = uncertainty
        self.class_count = class_count
        self._history = WindowHistory(window_frames=window_frames, hop_frames=hop_frames)
        self._tracks: dict[int, _TrackEntry] = {}
        self._frames = 0
        self._finished_pipelines: list[TrackPipeline] = []
        self._dropped: list[int] = []
        self._is_closed = False
        self.is_crowded = False
        """True once tracks were left out because there were too many."""

    @property
    def primary_track(self) -> int | None:
        """The track with the highest rank so far; None without any."""
        ranks = {track: entry.statistics.rank for track, entry in self._tracks.items()}
        return max(ranks, key=ranks.__getitem__, default=None)

    @property
    def finalized_frames(self) -> int:
        """Number of frames, from the first, that will get no further points."""
        if self._is_closed:
            return self._frames
        pipelines = [each.pipeline for each in self._tracks.values() if each.pipeline is not None]
        pending = [pipeline.first_pending_frame for pipeline in pipelines]
        return min([self._history.start, *(index for index in pending if index is not None)])

    def add(
        self, frames: Sequence[Frame], faces: Float32Array, voice: Float32Array
    ) -> FusionRequests:
        """Add T frames, the (N, 512) faces in them, frame after frame, and (T, 128) voice."""
        rows = _group_rows_by_track(frames)
        for track in rows:
            yield from self._ensure_active(track, rows)
        self._update_statistics(frames)
        for track, entry in self._tracks.items():
            if entry.pipeline is not None:
                for window in entry.pipeline.add(frames, faces[rows.get(track, [])], voice):
                    yield entry.pipeline, window
        self._history.add(frames, voice)
        self._frames += len(frames)
        yield from self._suspend_absent()

    def close(self) -> FusionRequests:
        """Yield the last windows of all active tracks."""
        self._is_closed = True
        for entry in self._tracks.values():
            yield from self._suspend(entry)
        for track, entry in [*self._tracks.items()]:
            if self._is_short(entry.statistics):
                self._drop(track)

    def take_final_points(self) -> Iterator[TimelinePoint]:
        """Yield the last points of the tracks that were suspended since the last call."""
        while self._finished_pipelines:
            yield from self._finished_pipelines.pop(0).finish()

    def take_dropped_tracks(self) -> list[int]:
        """Return the tracks that were dropped since the last call."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def snapshot(self) -> TrackManagerSnapshot:
        """Return the state, to be restored by `from_snapshot`.

        Between two calls of `add`, once the final points and the dropped tracks were taken.
        """
        pipelines = [each.pipeline for each in self._tracks.values() if each.pipeline is not None]
        pending = [pipeline.pending_frames for pipeline in pipelines]
        return TrackManagerSnapshot(
            window_frames=self._window_frames,
            hop_frames=self._hop_frames,
            smoothing_seconds=self._smoothing_seconds,
            class_count=self.class_count,
            frame_count=self._frames,
            frames=FramesSnapshot.of(max([self._history.frames, *pending], key=len)),
            history=self._history.snapshot(),
            tracks=tuple(
                TrackSnapshot(
                    track=track,
                    statistics=replace(entry.statistics),
                    finalized_frames=entry.finalized_frames,
                    last_face=entry.forward_fill.last_face,
                    conditions=replace(entry.conditions),
                    pipeline=None if entry.pipeline is None else entry.pipeline.snapshot(),
                )
                for track, entry in self._tracks.items()
            ),
            is_crowded=self.is_crowded,
        )

    @classmethod
    def from_snapshot(
        cls, snapshot: TrackManagerSnapshot, uncertainty: UncertaintyModel = UNCALIBRATED
    ) -> TrackManager:
        """Restore a track manager."""
        manager = cls(
            window_frames=snapshot.window_frames,
            hop_frames=snapshot.hop_frames,
            smoothing_seconds=snapshot.smoothing_seconds,
            uncertainty=uncertainty,
            class_count=snapshot.class_count,
        )
        latest_frames = snapshot.frames.restore()
        manager._frames = snapshot.frame_count
        manager.is_crowded = snapshot.is_crowded
        manager._history = WindowHistory.from_snapshot(
            snapshot.history,
            window_frames=snapshot.window_frames,
            hop_frames=snapshot.hop_frames,
            latest_frames=latest_frames,
        )
        for track in snapshot.tracks:
            manager._tracks[track.track] = manager._restore_entry(track, latest_frames)
        return manager

    def _restore_entry(self, track: TrackSnapshot, latest_frames: Sequence[Frame]) -> _TrackEntry:
        last_face = None if track.last_face is None else track.last_face.copy()
        forward_fill, conditions = ForwardFill(last_face), replace(track.conditions)
        pipeline = track.pipeline and TrackPipeline.from_snapshot(
            track.pipeline,
            track=track.track,
            window_frames=self._window_frames,
            hop_frames=self._hop_frames,
            smoothing_seconds=self._smoothing_seconds,
            forward_fill=forward_fill,
            conditions=conditions,
            uncertainty=self.uncertainty,
            latest_frames=latest_frames,
            voice=self._history.voice,
        )
        return _TrackEntry(
            statistics=replace(track.statistics),
            forward_fill=forward_fill,
            conditions=conditions,
            pipeline=pipeline,
            finalized_frames=track.finalized_frames,
        )

    def _ensure_active(self, track: int, present: Mapping[int, object]) -> FusionRequests:
        """Create a pipeline for a track that has none, if the limit allows."""
        entry = self._tracks.get(track)
        if entry is not None and entry.pipeline is not None:
            return
        active = {name: each for name, each in self._tracks.items() if each.pipeline is not None}
        if len(active) >= MAX_ACTIVE_TRACKS:
            absent = [name for name in active if name not in present and name != self.primary_track]
            if not absent:
                self.is_crowded = True
                return
            longest = min(absent, key=lambda name: active[name].statistics.last_index)
            yield from self._suspend(active[longest])
        if entry is None:
            entry = _TrackEntry(statistics=TrackStatistics())
            self._tracks[track] = entry
        yield from self._activate(track, entry)

    def _activate(self, track: int, entry: _TrackEntry) -> FusionRequests:
        pipeline = TrackPipeline(
            track=track,
            window_frames=self._window_frames,
            hop_frames=self._hop_frames,
            smoothing_seconds=self._smoothing_seconds,
            start_frame=self._history.start,
            first_point_frame=entry.finalized_frames,
            forward_fill=entry.forward_fill,
            conditions=entry.conditions,
            uncertainty=self.uncertainty,
            class_count=self.class_count,
        )
        entry.pipeline = pipeline
        for window in pipeline.add_history(self._history.frames, self._history.voice):
            yield pipeline, window

    def _update_statistics(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            for face in frame.faces:
                if face.track in self._tracks:
                    self._tracks[face.track].statistics.update(frame.index, face.box)

    def _suspend_absent(self) -> FusionRequests:
        primary = self.primary_track
        absent_since = self._frames - SUSPEND_AFTER_WINDOWS * self._window_frames
        for track, entry in self._tracks.items():
            if track != primary and entry.statistics.last_index < absent_since:
                yield from self._suspend(entry)
        suspended = [track for track, entry in self._tracks.items() if entry.pipeline is None]
        suspended.sort(key=lambda track: self._tracks[track].statistics.rank, reverse=True)
        while suspended and self._is_short(self._tracks[suspended[-1]].statistics):
            self._drop(suspended.pop())
        while suspended and len(self._tracks) > MAX_TRACKS:
            self._drop(suspended.pop())
            self.is_crowded = True

    def _suspend(self, entry: _TrackEntry) -> FusionRequests:
        pipeline, entry.pipeline = entry.pipeline, None
        if pipeline is not None:
            for window in pipeline.close():
                yield pipeline, window
            self._finished_pipelines.append(pipeline)
            entry.finalized_frames = self._frames

    def _is_short(self, statistics: TrackStatistics) -> bool:
        return statistics.observed_frames < min(MIN_TRACK_FRAMES, MIN_TRACK_SHARE * self._frames)

    def _drop(self, track: int) -> None:
        del self._tracks[track]
        self._dropped.append(track)


def _group_rows_by_track(frames: Sequence[Frame]) -> dict[int, list[int]]:
    """Return the rows of each track among the faces of these frames, frame after frame."""
    rows: dict[int, list[int]] = defaultdict(list)
    tracks = (face.track for frame in frames for face in frame.faces)
    for row, track in enumerate(tracks):
        rows[track].append(row)
    return rows
