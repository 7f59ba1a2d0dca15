"""Collects an analysis into a result, point by point.

Columns are compact arrays while a clip is analysed (8 bytes a frame, and 49 for each track
that is awake in it), so a million frames fit.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np

from service.domain.array_types import Float32Array, Int64Array
from service.domain.media import MediaInfo
from service.domain.options import FaceSelection
from service.domain.timeline import (
    AnalysisClosed,
    AnalysisEvent,
    AnalysisOpened,
    AnalysisProgress,
    FramesDecoded,
    TimelinePoint,
    TrackDropped,
)
from service.errors import InternalError
from service.results.columns import (
    BOX_COLUMNS,
    ESTIMATE_COLUMNS,
    AnalysisResult,
    Float64Array,
    FrameColumns,
    ResultTrack,
)


class ResultBuilder:
    """Collects the events of one analysis into a Result."""

    def __init__(
        self, provenance: Mapping[str, Any], faces: FaceSelection = FaceSelection.PRIMARY
    ) -> None:
        self._provenance = provenance
        self._faces = faces
        self._media: MediaInfo | None = None
        self._closed: AnalysisClosed | None = None
        self._time = array("d")
        self._tracks: dict[int, _TrackColumns] = {}

    def add(self, event: AnalysisEvent) -> None:
        """Take the next event; progress events leave no trace."""
        match event:
            case AnalysisOpened():
                self._media = event.media
            case FramesDecoded():
                self._time.extend(event.times_seconds)
            case TimelinePoint():
                self._tracks.setdefault(event.track, _TrackColumns()).add(event)
            case TrackDropped():
                self._tracks.pop(event.track, None)
            case AnalysisClosed():
                self._closed = event
            case AnalysisProgress():
                pass

    def build(self) -> AnalysisResult:
        """The columns; raises InternalError when the analysis lost a frame or its end."""
        if self._media is None or self._closed is None:
            raise InternalError("the analysis ended without its first or last event")
        if self._closed.frames != len(self._time):
            raise InternalError(
                f"{self._closed.frames} frames were decoded and {len(self._time)} have a time"
            )
        time, primary = np.array(self._time, dtype=np.float64), self._closed.primary
        frames = self._tracks.get(primary or 0, _TrackColumns()).expand_to_frames(time)
        if primary is not None and not frames.observed.any():
            raise InternalError("the primary track has no point of its own")
        return AnalysisResult(
            media=self._media,
            anomalies=self._closed.anomalies,
            provenance=self._provenance,
            flags=self._closed.flags,
            faces=self._faces,
            frames=frames,
            track=primary,
            tracks=tuple(
                self._track(track, points.trim_to_observed(time))
                for track, points in sorted(self._tracks.items())
            ),
        )

    def _track(self, track: int, frames: FrameColumns) -> ResultTrack:
        assert self._closed is not None
        return ResultTrack(
            id=track,
            primary=track == self._closed.primary,
            observed_frames=int(frames.observed.sum()),
            first_time=float(frames.time[0]),
            last_time=float(frames.time[-1]),
            mean_box={
                name: np.array([column[frames.observed].mean(dtype=np.float64)], np.float32)
                for name, column in frames.box.items()
            },
            frames=frames if self._faces is FaceSelection.ALL else None,
        )


class _TrackColumns:
    """The columns of one track, in frame order."""

    def __init__(self) -> None:
        self._index = array("i")
        self._observed = bytearray()
        self._estimates = {name: array("f") for name in ESTIMATE_COLUMNS}
        self._box = {name: array("f") for name in BOX_COLUMNS}

    def add(self, point: TimelinePoint) -> None:
        """Take the next point."""
        box, estimate = point.face, point.estimate
        self._index.append(point.frame.index)
        self._observed.append(box is not None)
        for name, column in self._box.items():
            column.append(np.nan if box is None else getattr(box, name))
        for name, column in self._estimates.items():
            column.append(np.nan if estimate is None else getattr(estimate, name))

    def expand_to_frames(self, time: Float64Array) -> FrameColumns:
        """A row for every frame of the clip, unknown where there is no point."""
        place = np.array(self._index, dtype=np.int64)

        def spread(column: array[float]) -> Float32Array:
            values = np.full(len(time), np.nan, np.float32)
            values[place] = column
            return values

        observed = np.zeros(len(time), np.bool_)
        observed[place] = np.frombuffer(bytes(self._observed), dtype=np.bool_)
        return FrameColumns(
            index=np.arange(len(time)),
            time=time,
            observed=observed,
            estimates={name: spread(column) for name, column in self._estimates.items()},
            box={name: spread(column) for name, column in self._box.items()},
        )

    def trim_to_observed(self, time: Float64Array) -> FrameColumns:
        """The points from the first frame with the face to the last."""
        index: Int64Array = np.array(self._index, dtype=np.int64)
        observed = np.frombuffer(bytes(self._observed), dtype=np.bool_)
        observed_rows = np.flatnonzero(observed)
        rows = slice(observed_rows[0], observed_rows[-1] + 1)
        return FrameColumns(
            index=index,
            time=time[index],
            observed=observed,
            estimates={k: np.array(v, dtype=np.float32) for k, v in self._estimates.items()},
            box={name: np.array(column, dtype=np.float32) for name, column in self._box.items()},
        ).cut(rows)
