"""Everyone in a clip: the points of every track, on one grid of windows, in bounded memory.

Which track is the primary one is known at the end only, so each is followed as if it were.
A track that has long been away rests: it has no points until it returns. The one that leads
never rests, so that the primary track's points reach the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array
from service.domain.clip import MAX_FACES, Frame
from service.domain.forward_fill import ForwardFill
from service.domain.model_signatures import FACE_FEATURES
from service.domain.timeline import TimelinePoint
from service.domain.track_pipeline import TRACK_PIPELINE_CLASSES, TrackPipeline
from service.domain.track_statistics import TrackStatistics
from service.domain.window_history import WindowHistory
from service.domain.windows import Window

SUSPEND_AFTER_WINDOWS: Final = 5
"""A track away for so many windows' frames rests."""
MIN_TRACK_FRAMES: Final = 5
MIN_TRACK_SHARE: Final = 0.1
"""A track seen in fewer frames, and in a smaller share of the clip, is taken for no person."""
MAX_ACTIVE_TRACKS: Final = 2 * MAX_FACES
"""Tracks with points under way. Beyond them whoever is longest away rests before the time."""
MAX_TRACKS: Final = 128
"""Tracks kept of one clip. Beyond them the least present of those at rest is dropped."""

FusionRequests = Iterator[tuple[TrackPipeline, Window]]
"""Windows, each with the maker that its answer is for; to be answered before the next."""


@dataclass(slots=True, kw_only=True)
class _TrackEntry:
    statistics: TrackStatistics
    forward_fill: ForwardFill = field(default_factory=ForwardFill)
    pipeline: TrackPipeline | None = None
    """None: at rest."""
    finalized_frames: int = 0
    """Of the clip; those of them that need a point have it."""


class TrackManager:
    """The tracks of one clip.

    Call `add` for each chunk and `close` once, answering every window they yield; after each
    of them take what has settled and who was dropped.
    """

    __slots__ = (
        *("_dropped", "_finished_pipelines", "_frames", "_history", "_hop_frames", "_is_closed"),
        *("_smoothing_seconds", "_tracks", "_window_frames", "is_crowded"),
    )

    def __init__(self, *, window_frames: int, hop_frames: int, smoothing_seconds: float) -> None:
        self._window_frames = window_frames
        self._hop_frames = hop_frames
        self._smoothing_seconds = smoothing_seconds
        self._history = WindowHistory(window_frames=window_frames, hop_frames=hop_frames)
        self._tracks: dict[int, _TrackEntry] = {}
        self._frames = 0
        self._finished_pipelines: list[TrackPipeline] = []
        self._dropped: list[int] = []
        self._is_closed = False
        self.is_crowded = False
        """Whether tracks were left out because there were too many."""

    @property
    def primary_track(self) -> int | None:
        """The track that has been there most, so far."""
        ranks = {track: entry.statistics.rank for track, entry in self._tracks.items()}
        return max(ranks, key=ranks.__getitem__, default=None)

    @property
    def finalized_frames(self) -> int:
        """So many frames have all the points they will ever get."""
        if self._is_closed:
            return self._frames
        pipelines = [each.pipeline for each in self._tracks.values() if each.pipeline is not None]
        waiting = [pipeline.first_pending_frame for pipeline in pipelines]
        return min([self._history.start, *(index for index in waiting if index is not None)])

    def add(
        self, frames: Sequence[Frame], faces: Float32Array, voice: Float32Array
    ) -> FusionRequests:
        """Takes T frames, the (N, 512) faces in them, frame after frame, and (T, 128) voice."""
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
        """The last windows of all who are awake."""
        self._is_closed = True
        for entry in self._tracks.values():
            yield from self._suspend(entry)
        for track, entry in [*self._tracks.items()]:
            if self._is_short(entry.statistics):
                self._drop(track)

    def take_final_points(self) -> Iterator[TimelinePoint]:
        """The last points of those who went to rest since the last call."""
        while self._finished_pipelines:
            yield from self._finished_pipelines.pop(0).finish()

    def take_dropped_tracks(self) -> list[int]:
        """The tracks that were dropped since the last call."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def _ensure_active(self, track: int, present: Mapping[int, object]) -> FusionRequests:
        """Make a point maker for a track that has none, if there is room for it."""
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
        )
        entry.pipeline = pipeline
        unseen = np.zeros((0, FACE_FEATURES), np.float32)
        for window in pipeline.add(self._history.frames, unseen, self._history.voice):
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
        suspended = [track for track, member in self._tracks.items() if member.pipeline is None]
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
    """Each track's rows among the faces of these frames, frame after frame."""
    rows: dict[int, list[int]] = defaultdict(list)
    tracks = (face.track for frame in frames for face in frame.faces)
    for row, track in enumerate(tracks):
        rows[track].append(row)
    return rows


TRACK_MANAGER_CLASSES: Final = (
    TrackManager,
    _TrackEntry,
    WindowHistory,
    TrackStatistics,
    *TRACK_PIPELINE_CLASSES,
)
"""All that a cast is made of between two calls, for whoever keeps one to go on later."""
