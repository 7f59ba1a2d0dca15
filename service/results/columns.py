"""The public result as columns of one length.

NaN stands for "unknown" inside, and no writer lets it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from service.domain.array_types import BoolArray, Float32Array, Int64Array
from service.domain.media import Anomalies, Flag, MediaInfo
from service.domain.options import FaceSelection

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

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameColumns:
    """One value for each of T frames in each column, as one track sees them.

    index: (T,) ordinals. time: (T,) seconds.
    observed: (T,) whether the track's face was found in the frame.
    estimates: by ESTIMATE_COLUMNS, (T,) float32 in [-1, 1], NaN where unknown.
    box: by BOX_COLUMNS, (T,) float32, pixels of the displayed frame and score, NaN without one.
    """

    index: Int64Array
    time: Float64Array
    observed: BoolArray
    estimates: Mapping[str, Float32Array]
    box: Mapping[str, Float32Array]

    def __len__(self) -> int:
        return len(self.index)

    def cut(self, rows: slice) -> FrameColumns:
        """Some of the rows."""
        return FrameColumns(
            index=self.index[rows],
            time=self.time[rows],
            observed=self.observed[rows],
            estimates={name: column[rows] for name, column in self.estimates.items()},
            box={name: column[rows] for name, column in self.box.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultTrack:
    """One face through the clip.

    first_time, last_time: seconds of the first and last frame in which it was found.
    mean_box: by BOX_COLUMNS, (1,) over the frames in which it was found.
    frames: from the first of these frames to the last, frames of a long absence left out; None
        where only the primary track's are asked for.
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
    """What a finished analysis hands out, before it takes a format.

    frames: every decoded frame, as the primary track sees it.
    tracks: by their ids; `track` is the primary one's, None where no face was found.
    """

    media: MediaInfo
    anomalies: Anomalies
    provenance: Mapping[str, Any]
    flags: tuple[Flag, ...]
    faces: FaceSelection
    frames: FrameColumns
    track: int | None
    tracks: tuple[ResultTrack, ...]


def compute_relative_boxes(
    box: Mapping[str, Float32Array], media: MediaInfo
) -> dict[str, Float32Array]:
    """The part of each box that is in the picture, by SHARE_COLUMNS, as shares of its sides.

    x and w: of the width, y and h: of the height, all in [0, 1].
    """
    shares: dict[str, Float64Array] = {}
    sides = (("x", "w", "left", "width", media.width), ("y", "h", "top", "height", media.height))
    for start, extent, low, length, pixels in sides:
        near, extent_pixels = (box[name].astype(np.float64) for name in (low, length))
        first = np.clip(near / pixels, 0, 1)
        last = np.clip((near + extent_pixels) / pixels, 0, 1)
        shares[start], shares[extent] = first, last - first
    return {name: shares[name].astype(np.float32) for name in RELATIVE_BOX_COLUMNS}
