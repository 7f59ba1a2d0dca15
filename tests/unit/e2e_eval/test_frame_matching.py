"""Matching of truth, offline and served estimates by frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from e2e_eval.errors import FramesMismatch
from e2e_eval.frame_matching import (
    ClipEstimates,
    ClipTruth,
    ExcludedFrames,
    MatchedFrames,
    match_frames,
)
from service.domain.array_types import Float64Array

FRAMES = 10
TIMES = np.arange(FRAMES) / 25
TRUTH = ClipTruth(clip="clip", rate="25", times=TIMES, targets=np.stack([TIMES, -TIMES], axis=1))


def make_estimates(
    rows: list[int], *, unknown: tuple[int, ...] = (), shift: float = 0.0
) -> ClipEstimates:
    """Make estimates with the frame index encoded in the mean."""
    index = np.array(rows, np.int64)
    mean = np.stack([index, index + 100], axis=1) / 1000
    mean[np.isin(index, unknown)] = np.nan
    return ClipEstimates(index=index, times=index / 25 + shift, mean=mean, spread=mean / 10)


ALL_FRAMES = list(range(FRAMES))


def decode_frames(values: Float64Array) -> list[int]:
    return np.round(values[:, 0] * 1000).astype(int).tolist()


def counted_frames(matched: MatchedFrames) -> list[int]:
    """Indices of the scored frames, which must be the same in all arrays."""
    frames = np.round(matched.truth[:, 0] * 25).astype(int).tolist()
    assert decode_frames(matched.offline) == frames
    assert decode_frames(matched.served) == frames
    assert decode_frames(matched.served_spread * 10) == frames
    assert decode_frames(matched.offline_spread * 10) == frames
    return frames


def test_every_frame_with_an_estimate_in_both_is_scored() -> None:
    matched = match_frames(TRUTH, make_estimates(ALL_FRAMES), make_estimates(ALL_FRAMES))
    assert counted_frames(matched) == ALL_FRAMES
    assert (matched.frames, matched.missing_rows, matched.unexpected_rows) == (FRAMES, 0, 0)
    assert matched.excluded == ExcludedFrames(only_offline=0, only_served=0, in_neither=0)


def test_frame_without_estimate_in_one_is_excluded_from_both_and_counted() -> None:
    matched = match_frames(
        TRUTH,
        make_estimates(ALL_FRAMES, unknown=(0, 1)),
        make_estimates(ALL_FRAMES, unknown=(0, 2, 3, 4)),
    )
    assert counted_frames(matched) == [5, 6, 7, 8, 9]
    assert matched.excluded == ExcludedFrames(only_offline=3, only_served=1, in_neither=1)
    assert matched.missing_rows == 0


def test_rows_find_their_frames_in_any_order() -> None:
    assert (
        counted_frames(
            match_frames(TRUTH, make_estimates(ALL_FRAMES), make_estimates(ALL_FRAMES[::-1]))
        )
        == ALL_FRAMES
    )


def test_missing_row_shifts_no_other() -> None:
    matched = match_frames(
        TRUTH, make_estimates(ALL_FRAMES), make_estimates([k for k in ALL_FRAMES if k != 4])
    )
    assert counted_frames(matched) == [k for k in ALL_FRAMES if k != 4]
    assert (matched.missing_rows, matched.excluded.only_offline) == (1, 1)


def test_frames_that_were_never_decoded_are_missing_rows() -> None:
    matched = match_frames(TRUTH, make_estimates(ALL_FRAMES), make_estimates(ALL_FRAMES[:7]))
    assert counted_frames(matched) == ALL_FRAMES[:7]
    assert matched.missing_rows == 3


def test_row_without_a_frame_is_unexpected_and_not_scored() -> None:
    matched = match_frames(
        TRUTH, make_estimates(ALL_FRAMES), make_estimates([*ALL_FRAMES, FRAMES, FRAMES + 1])
    )
    assert counted_frames(matched) == ALL_FRAMES
    assert (matched.missing_rows, matched.unexpected_rows) == (0, 2)


def test_times_may_differ_by_a_rounded_tick_and_no_more() -> None:
    assert (
        counted_frames(
            match_frames(TRUTH, make_estimates(ALL_FRAMES), make_estimates(ALL_FRAMES, shift=5e-5))
        )
        == ALL_FRAMES
    )
    with pytest.raises(FramesMismatch, match=r"clip, served: frame 0 is at 0\.002000 s, not"):
        match_frames(TRUTH, make_estimates(ALL_FRAMES), make_estimates(ALL_FRAMES, shift=0.002))


def test_frame_dropped_without_a_gap_in_the_index_is_detected() -> None:
    complete = make_estimates(ALL_FRAMES)
    dropped = replace(complete, index=complete.index[:-1], times=np.delete(complete.times, 3))
    dropped = replace(dropped, mean=complete.mean[:-1], spread=complete.spread[:-1])
    with pytest.raises(FramesMismatch, match="frame 3 is at"):
        match_frames(TRUTH, complete, dropped)


def test_two_rows_of_one_frame_are_rejected() -> None:
    with pytest.raises(FramesMismatch, match="offline: two rows of one frame"):
        match_frames(TRUTH, make_estimates([*ALL_FRAMES, 3]), make_estimates(ALL_FRAMES))
