"""Result builder: collects the events of an analysis into the columns of a result.

Columns are compact arrays while a clip is analysed (8 bytes a frame; 49 for each track that is
active in it, and 4 for each class of the estimator), so a million frames fit. NaN stands for
"unknown" in memory; the formats write null or an empty cell instead.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import repeat
from typing import Any, Final

import numpy as np

from service.domain.array_types import BoolArray, Float32Array, Float64Array, Int64Array
from service.domain.clip import (
    AnalysisClosed,
    AnalysisEvent,
    AnalysisOpened,
    AnalysisProgress,
    FramesDecoded,
    TimelinePoint,
    TrackDropped,
)
from service.domain.estimator import EstimatorManifest, Modality
from service.domain.media import Anomalies, Flag, MediaInfo
from service.domain.options import FaceSelection
from service.domain.uncertainty import StdMeaning
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
BOX_COLUMNS: Final = ("left", "top", "width", "height", "score")
RELATIVE_BOX_COLUMNS: Final = ("x", "y", "w", "h")
FACE_COLUMNS: Final = (*BOX_COLUMNS, *RELATIVE_BOX_COLUMNS)


class ResultBuilder:
    """Collects the events of one analysis into an AnalysisResult."""

    def __init__(
        self,
        manifest: EstimatorManifest,
        provenance: Mapping[str, Any],
        faces: FaceSelection = FaceSelection.PRIMARY,
    ) -> None:
        self._manifest = manifest
        self._provenance = provenance
        self._faces = faces
        self._media: MediaInfo | None = None
        self._closed: AnalysisClosed | None = None
        self._time = array("d")
        self._tracks: dict[int, _TrackColumns] = {}

    def add(self, event: AnalysisEvent) -> None:
        """Add the next event; progress events are ignored."""
        match event:
            case AnalysisOpened():
                self._media = event.media
            case FramesDecoded():
                self._time.extend(event.times_seconds)
            case TimelinePoint():
                if event.track not in self._tracks:
                    self._tracks[event.track] = _TrackColumns(self._manifest.classes)
                self._tracks[event.track].add(event)
            case TrackDropped():
                self._tracks.pop(event.track, None)
            case AnalysisClosed():
                self._closed = event
            case AnalysisProgress():
                pass

    def build(self) -> AnalysisResult:
        """Build the result. Raises: InternalError: a frame or an event is missing."""
        if self._media is None or self._closed is None:
            raise InternalError("the analysis ended without its first or last event")
        if self._closed.frames != len(self._time):
            raise InternalError(
                f"{self._closed.frames} frames were decoded and {len(self._time)} have a time"
            )
        time, primary = np.array(self._time, dtype=np.float64), self._closed.primary
        empty = _TrackColumns(self._manifest.classes)
        frames = self._tracks.get(primary or 0, empty).expand_to_frames(time)
        if primary is not None and not frames.observed.any():
            raise InternalError("the primary track has no point of its own")
        flags = {*self._closed.flags, *self._manifest.flags}
        return AnalysisResult(
            media=self._media,
            anomalies=self._closed.anomalies,
            manifest=self._manifest,
            provenance=self._provenance,
            modalities_used=self._manifest.find_used_modalities(flags, self._closed.anomalies),
            flags=tuple(sorted(flags)),
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
    """Columns of one track, in frame order."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._index = array("i")
        self._observed = bytearray()
        self._estimates = {name: array("f") for name in ESTIMATE_COLUMNS}
        self._box = {name: array("f") for name in BOX_COLUMNS}
        self._classes = {name: array("f") for name in classes}

    def add(self, point: TimelinePoint) -> None:
        """Append the next point."""
        box, estimate = point.face, point.estimate
        self._index.append(point.frame.index)
        self._observed.append(box is not None)
        for name, column in self._box.items():
            column.append(np.nan if box is None else getattr(box, name))
        for name, column in self._estimates.items():
            column.append(np.nan if estimate is None else getattr(estimate, name))
        probabilities = point.class_probabilities or repeat(np.nan)
        for column, probability in zip(self._classes.values(), probabilities, strict=False):
            column.append(probability)

    def expand_to_frames(self, time: Float64Array) -> FrameColumns:
        """Columns with a row for every frame of the clip, NaN where there is no point."""
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
            classes={name: spread(column) for name, column in self._classes.items()},
        )

    def trim_to_observed(self, time: Float64Array) -> FrameColumns:
        """Columns of the points from the first frame with the face to the last."""
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
            classes={k: np.array(v, dtype=np.float32) for k, v in self._classes.items()},
        ).cut(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameColumns:
    """Columns of one track, with a value for each of T frames.

    index: (T,) ordinals. time: (T,) seconds.
    observed: (T,) whether the track's face was found in the frame.
    estimates: by ESTIMATE_COLUMNS, (T,) float32 in [-1, 1], NaN where unknown.
    box: by BOX_COLUMNS, (T,) float32, pixels of the displayed frame and score, NaN without one.
    classes: by the estimator's classes, (T,) float32 in [0, 1], NaN where the face was not found.
    """

    index: Int64Array
    time: Float64Array
    observed: BoolArray
    estimates: Mapping[str, Float32Array]
    box: Mapping[str, Float32Array]
    classes: Mapping[str, Float32Array] = field(default_factory=dict[str, Float32Array])

    def __len__(self) -> int:
        return len(self.index)

    def cut(self, rows: slice) -> FrameColumns:
        """Copy of some of the rows."""
        return FrameColumns(
            index=self.index[rows],
            time=self.time[rows],
            observed=self.observed[rows],
            estimates={name: column[rows] for name, column in self.estimates.items()},
            box={name: column[rows] for name, column in self.box.items()},
            classes={name: column[rows] for name, column in self.classes.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultTrack:
    """Face track of a result.

    first_time, last_time: seconds of the first and last frame in which the face was found.
    mean_box: by BOX_COLUMNS, (1,) over the frames in which the face was found.
    frames: from the first of these frames to the last, without those of a long absence; None
        where only the primary track's frames are requested.
    """

    id: int
    primary: bool
    observed_frames: int
    first_time: float
    last_time: float
    mean_box: dict[str, Float32Array]
    frames: FrameColumns | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisResult:
    """Result of a finished analysis, independent of the file format.

    frames: every decoded frame, with the primary track's values.
    track: id of the primary track, None where no face was found. tracks: in the order of their ids.
    modalities_used: those of the estimator that the clip has.
    """

    media: MediaInfo
    anomalies: Anomalies
    manifest: EstimatorManifest
    provenance: Mapping[str, Any]
    modalities_used: tuple[Modality, ...]
    flags: tuple[Flag, ...]
    faces: FaceSelection
    frames: FrameColumns
    track: int | None
    tracks: tuple[ResultTrack, ...]

    @property
    def std_meaning(self) -> StdMeaning:
        """Meaning of the standard deviations."""
        return self.manifest.uncertainty.meaning

    def describe_model(self) -> dict[str, Any]:
        """Return the estimator in plain values, as the formats name it."""
        manifest = self.manifest
        return {
            "id": str(manifest.id),
            "name": manifest.name,
            "version": manifest.version,
            "title": manifest.title,
            "domain": manifest.domain,
            "modalities": list(manifest.modalities),
            "modalities_used": list(self.modalities_used),
            "std_meaning": self.std_meaning,
            "classes": list(manifest.classes),
            "licences": asdict(manifest.licences),
            "figures": [asdict(figure) for figure in manifest.figures],
            "caveats": list(manifest.caveats),
        }


def compute_relative_boxes(
    box: Mapping[str, Float32Array], media: MediaInfo
) -> dict[str, Float32Array]:
    """Boxes clipped to the picture and divided by its size, by RELATIVE_BOX_COLUMNS.

    x and w: relative to the width, y and h: to the height, all in [0, 1].
    """
    relative: dict[str, Float64Array] = {}
    sides = (("x", "w", "left", "width", media.width), ("y", "h", "top", "height", media.height))
    for start, extent, low, length, pixels in sides:
        near, extent_pixels = (box[name].astype(np.float64) for name in (low, length))
        first = np.clip(near / pixels, 0, 1)
        last = np.clip((near + extent_pixels) / pixels, 0, 1)
        relative[start], relative[extent] = first, last - first
    return {name: relative[name].astype(np.float32) for name in RELATIVE_BOX_COLUMNS}
