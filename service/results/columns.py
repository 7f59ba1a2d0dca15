"""The public result as columns of one length, built point by point.

Columns are compact arrays while a clip is analysed (64 bytes a frame), so a million
frames fit; NaN stands for "unknown" inside, and no writer lets it out.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from service.domain.arrays import Booleans, Floats, Integers
from service.domain.clip import Frame, Missing
from service.domain.media import Anomalies, Flag, MediaFacts
from service.domain.timeline import (
    AnalysisClosed,
    AnalysisEvent,
    AnalysisOpened,
    Estimate,
    FramesSeen,
    TimelinePoint,
)
from service.errors import InternalError

SCHEMA: Final = "circumplex.result.v1"
ESTIMATE_COLUMNS: Final = (
    "valence",
    "arousal",
    "valence_std",
    "arousal_std",
    "valence_smoothed",
    "arousal_smoothed",
)
FACE_COLUMNS: Final = ("left", "top", "width", "height", "score")

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameColumns:
    """One value per decoded frame in each column.

    index: (T,) ordinals. time: (T,) seconds.
    observed: (T,) whether the frame has a face of its own. missing: (T,) why not, or None.
    estimates: by ESTIMATE_COLUMNS, (T,) float32 in [-1, 1], NaN where unknown.
    face: by FACE_COLUMNS, (T,) float32, pixels of the displayed frame and score, NaN without one.
    """

    index: Integers
    time: Doubles
    observed: Booleans
    missing: tuple[Missing | None, ...]
    estimates: Mapping[str, Floats]
    face: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a finished analysis hands out, before it takes a format."""

    media: MediaFacts
    anomalies: Anomalies
    provenance: Mapping[str, Any]
    flags: tuple[Flag, ...]
    frames: FrameColumns


class ResultBuilder:
    """Collects the events of one analysis into a Result."""

    def __init__(self, provenance: Mapping[str, Any]) -> None:
        self._provenance = provenance
        self._media: MediaFacts | None = None
        self._closed: AnalysisClosed | None = None
        self._index = array("q")
        self._time = array("d")
        self._missing: list[Missing | None] = []
        self._observed = bytearray()
        self._estimates = {name: array("f") for name in ESTIMATE_COLUMNS}
        self._face = {name: array("f") for name in FACE_COLUMNS}

    def add(self, event: AnalysisEvent) -> None:
        """Take the next event; progress events leave no trace."""
        match event:
            case AnalysisOpened():
                self._media = event.media
            case TimelinePoint():
                self._add_frame(event.frame)
                self._add_estimate(event.estimate)
            case AnalysisClosed():
                self._closed = event
            case FramesSeen():
                pass

    def build(self) -> Result:
        """The columns; raises InternalError when the analysis lost a frame or its end."""
        if self._media is None or self._closed is None:
            raise InternalError("the analysis ended without its first or last event")
        if self._closed.frames != len(self._index):
            raise InternalError(
                f"{self._closed.frames} frames were decoded and {len(self._index)} have a point"
            )
        return Result(
            media=self._media,
            anomalies=self._closed.anomalies,
            provenance=self._provenance,
            flags=self._closed.flags,
            frames=FrameColumns(
                index=np.array(self._index, dtype=np.int64),
                time=np.array(self._time, dtype=np.float64),
                observed=np.frombuffer(bytes(self._observed), dtype=np.bool_),
                missing=tuple(self._missing),
                estimates=_as_floats(self._estimates),
                face=_as_floats(self._face),
            ),
        )

    def _add_frame(self, frame: Frame) -> None:
        self._index.append(frame.index)
        self._time.append(frame.time_seconds)
        self._missing.append(frame.missing)
        self._observed.append(frame.face is not None)
        for name, column in self._face.items():
            column.append(np.nan if frame.face is None else getattr(frame.face, name))

    def _add_estimate(self, estimate: Estimate | None) -> None:
        for name, column in self._estimates.items():
            column.append(np.nan if estimate is None else getattr(estimate, name))


def _as_floats(columns: Mapping[str, array[float]]) -> dict[str, Floats]:
    return {name: np.array(column, dtype=np.float32) for name, column in columns.items()}
