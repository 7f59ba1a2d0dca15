"""Frame matching: ground truth, offline estimates and served estimates of the same frames.

A frame is scored if it has an estimate in both; all others are excluded from both. The truth of a
synthetic clip has no gaps, so a frame is excluded only where there is no estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from e2e_eval.errors import FramesMismatch
from service.domain.array_types import BoolArray, Float64Array, Int64Array
from service.domain.model_signatures import TARGETS

TIME_TOLERANCE_SECONDS: Final = 1e-4
"""Tolerance of frame times: a container's rounded tick."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipTruth:
    """Ground truth of a clip: times (T,) in seconds, targets (T, 2)."""

    clip: str
    rate: str
    times: Float64Array
    targets: Float64Array

    def __len__(self) -> int:
        return len(self.times)

    @property
    def person(self) -> str:
        """Name of the actor."""
        return self.clip.removesuffix(f"-{self.rate}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipEstimates:
    """Estimates of a clip, one row per frame; mean and spread are NaN where unknown.

    index: (N,) index of each row's frame. times: (N,) seconds. mean, spread: (N, 2).
    """

    index: Int64Array
    times: Float64Array
    mean: Float64Array
    spread: Float64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedFrames:
    """Numbers of excluded frames, by where an estimate exists."""

    only_offline: int
    only_served: int
    in_neither: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatchedFrames:
    """Scored frames of one clip, (N, 2) each.

    missing_rows: frames without a row in one of the two. unexpected_rows: rows without a frame.
    """

    person: str
    rate: str
    truth: Float64Array
    offline: Float64Array
    offline_spread: Float64Array
    served: Float64Array
    served_spread: Float64Array
    excluded: ExcludedFrames
    frames: int
    missing_rows: int
    unexpected_rows: int


def match_frames(truth: ClipTruth, offline: ClipEstimates, served: ClipEstimates) -> MatchedFrames:
    """Match the rows of both to the frames of the truth.

    Raises: FramesMismatch: a frame has two rows, or its times differ.
    """
    offline_aligned = _align_to_truth(truth, offline, "offline")
    served_aligned = _align_to_truth(truth, served, "served")
    has_offline, has_served = offline_aligned.known, served_aligned.known
    is_matched = has_offline & has_served
    return MatchedFrames(
        person=truth.person,
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
    mean: Float64Array
    spread: Float64Array
    has_row: BoolArray
    unexpected_rows: int

    @property
    def known(self) -> BoolArray:
        finite: BoolArray = np.isfinite(self.mean)
        return finite[:, 0] & finite[:, 1]


def _align_to_truth(truth: ClipTruth, estimates: ClipEstimates, source: str) -> _AlignedEstimates:
    """Assign rows to frames by index, and check that their times agree."""
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
