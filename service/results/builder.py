"""Collects an analysis into a result, point by point.

Columns are compact arrays while a clip is analysed (8 bytes a frame, and 49 for each track
that is awake in it), so a million frames fit.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np

from service.domain.arrays import Floats, Integers
from service.domain.choices import Faces
from service.domain.media import MediaFacts
from service.domain.timeline import (
    AnalysisClosed,
    AnalysisEvent,
    AnalysisOpened,
    FramesDecoded,
    FramesSeen,
    TimelinePoint,
    TrackDropped,
)
from service.errors import InternalError
from service.results.columns import (
    BOX_COLUMNS,
    ESTIMATE_COLUMNS,
    Doubles,
    FrameColumns,
    Result,
    Track,
)


class ResultBuilder:
    """Collects the events of one analysis into a Result."""

    def __init__(self, provenance: Mapping[str, Any], faces: Faces = Faces.PRIMARY) -> None:
        self._provenance = provenance
        self._faces = faces
        self._media: MediaFacts | None = None
        self._closed: AnalysisClosed | None = None
        self._time = array("d")
        self._tracks: dict[int, _Points] = {}

    def add(self, event: AnalysisEvent) -> None:
        """Take the next event; progress events leave no trace."""
        match event:
            case AnalysisOpened():
                self._media = event.media
            case FramesDecoded():
                self._time.extend(event.times_seconds)
            case TimelinePoint():
                self._tracks.setdefault(event.track, _Points()).add(event)
            case TrackDropped():
                self._tracks.pop(event.track, None)
            case AnalysisClosed():
                self._closed = event
            case FramesSeen():
                pass

    def build(self) -> Result:
        """The columns; raises InternalError when the analysis lost a frame or its end."""
        if self._media is None or self._closed is None:
            raise InternalError("the analysis ended without its first or last event")
        if self._closed.frames != len(self._time):
            raise InternalError(
                f"{self._closed.frames} frames were decoded and {len(self._time)} have a time"
            )
        time, primary = np.array(self._time, dtype=np.float64), self._closed.primary
        frames = self._tracks.get(primary or 0, _Points()).over_all(time)
        if primary is not None and not frames.observed.any():
            raise InternalError("the primary track has no point of its own")
        return Result(
            media=self._media,
            anomalies=self._closed.anomalies,
            provenance=self._provenance,
            flags=self._closed.flags,
            faces=self._faces,
            frames=frames,
            track=primary,
            tracks=tuple(
                self._track(track, points.own(time))
                for track, points in sorted(self._tracks.items())
            ),
        )

    def _track(self, track: int, frames: FrameColumns) -> Track:
        assert self._closed is not None
        return Track(
            id=track,
            primary=track == self._closed.primary,
            observed_frames=int(frames.observed.sum()),
            first_time=float(frames.time[0]),
            last_time=float(frames.time[-1]),
            mean_box={
                name: np.array([column[frames.observed].mean(dtype=np.float64)], np.float32)
                for name, column in frames.box.items()
            },
            frames=frames if self._faces is Faces.ALL else None,
        )


class _Points:
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

    def over_all(self, time: Doubles) -> FrameColumns:
        """A row for every frame of the clip, unknown where there is no point."""
        place = np.array(self._index, dtype=np.int64)

        def spread(column: array[float]) -> Floats:
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

    def own(self, time: Doubles) -> FrameColumns:
        """The points from the first frame with the face to the last."""
        index: Integers = np.array(self._index, dtype=np.int64)
        observed = np.frombuffer(bytes(self._observed), dtype=np.bool_)
        seen = np.flatnonzero(observed)
        rows = slice(seen[0], seen[-1] + 1)
        return FrameColumns(
            index=index,
            time=time[index],
            observed=observed,
            estimates={k: np.array(v, dtype=np.float32) for k, v in self._estimates.items()},
            box={name: np.array(column, dtype=np.float32) for name, column in self._box.items()},
        ).cut(rows)
