"""The same frames three times over: their truth, and what was estimated offline and served.

A frame counts if it has truth and an estimate in both; every other one is left out of both.
The truth of a synthetic clip has no gaps: what is left out is what nobody could estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from e2e_eval.errors import FramesMismatch
from service.domain.array_types import BoolArray, Int64Array
from service.domain.model_signatures import TARGETS

Doubles = npt.NDArray[np.float64]

TIME_TOLERANCE_SECONDS: Final = 1e-4
"""How far two accounts of a frame's time may differ: a container's tick, rounded."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipTruth:
    """What is known of a clip's frames: times (T,) in seconds, targets (T, 2)."""

    clip: str
    rate: str
    times: Doubles
    targets: Doubles

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipEstimates:
    """What was estimated of a clip, one row a frame; mean and spread are NaN where unknown.

    index: (N,) which frame a row is. times: (N,) seconds. mean, spread: (N, 2).
    """

    index: Int64Array
    times: Doubles
    mean: Doubles
    spread: Doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedFrames:
    """How many frames do not count: without an estimate in one of the two, or in both."""

    only_offline: int
    only_served: int
    in_neither: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatchedFrames:
    """The frames of one clip that count: (N, 2) each.

    lost: frames that have truth and no row in one of the two. strange: rows of no such frame.
    """

    rate: str
    truth: Doubles
    offline: Doubles
    offline_spread: Doubles
    served: Doubles
    served_spread: Doubles
    excluded: ExcludedFrames
    frames: int
    missing_rows: int
    unexpected_rows: int


def match_frames(truth: ClipTruth, offline: ClipEstimates, served: ClipEstimates) -> MatchedFrames:
    """Bring the rows of both to the frames of the truth.

    Raises: FramesDisagree: a frame is given twice, or two times of one frame differ.
    """
    offline_aligned = _align_to_truth(truth, offline, "offline")
    served_aligned = _align_to_truth(truth, served, "served")
    has_offline, has_served = offline_aligned.known, served_aligned.known
    is_matched = has_offline & has_served
    return MatchedFrames(
        rate=truth.rate,
        truth=truth.targets[is_matched],
        offline=offline_aligned.mean[is_matched],
        offline_spread=offline_aligned.spread[is_matched],
        served=served_aligned.mean[is_matched],
        served_spread=served_aligned.spread[is_matched],
        excluded=ExcludedFrames(
            only_offline=int((has_offline & ~has_served).sum()),
            only_served=int((has_served & ~has_offline).sum()),
            in_neither=int((~has_offline & ~has_served).sum()),
        ),
        frames=len(truth),
        missing_rows=int((~(offline_aligned.has_row & served_aligned.has_row)).sum()),
        unexpected_rows=offline_aligned.unexpected_rows + served_aligned.unexpected_rows,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _AlignedEstimates:
    mean: Doubles
    spread: Doubles
    has_row: BoolArray
    unexpected_rows: int

    @property
    def known(self) -> BoolArray:
        finite: BoolArray = np.isfinite(self.mean)
        return finite[:, 0] & finite[:, 1]


def _align_to_truth(truth: ClipTruth, estimates: ClipEstimates, source: str) -> _AlignedEstimates:
    """Rows to frames by index; the times of the two have to agree."""
    index = estimates.index
    if len(np.unique(index)) != len(index):
        raise FramesMismatch(f"{truth.clip}, {source}: two rows of one frame")
    is_in_range = (index >= 0) & (index < len(truth))
    rows = index[is_in_range]
    time_differences = np.abs(estimates.times[is_in_range] - truth.times[rows])
    if (time_differences > TIME_TOLERANCE_SECONDS).any():
        first = int(np.argmax(time_differences > TIME_TOLERANCE_SECONDS))
        raise FramesMismatch(
            f"{truth.clip}, {source}: "
            f"frame {rows[first]} is at {estimates.times[is_in_range][first]:.6f} s, "
            f"not at {truth.times[rows[first]]:.6f} s"
        )
    mean, spread = (np.full((len(truth), len(TARGETS)), np.nan) for _ in range(2))
    mean[rows], spread[rows] = estimates.mean[is_in_range], estimates.spread[is_in_range]
    has_row = np.zeros(len(truth), np.bool_)
    has_row[rows] = True
    return _AlignedEstimates(
        mean=mean, spread=spread, has_row=has_row, unexpected_rows=int((~is_in_range).sum())
    )
