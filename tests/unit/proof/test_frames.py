"""Truth, offline and served estimates come together frame by frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from proof.errors import FramesDisagree
from proof.frames import Estimates, LeftOut, Matched, Truth, match

FRAMES = 10
TIMES = np.arange(FRAMES) / 25
TRUTH = Truth(clip="clip", rate="25", times=TIMES, targets=np.stack([TIMES, -TIMES], axis=1))


def estimates(rows: list[int], *, unknown: tuple[int, ...] = (), shift: float = 0.0) -> Estimates:
    """Every row's mean tells its frame, so that a mix-up shows."""
    index = np.array(rows, np.int64)
    mean = np.stack([index, index + 100], axis=1) / 1000
    mean[np.isin(index, unknown)] = np.nan
    return Estimates(index=index, times=index / 25 + shift, mean=mean, spread=mean / 10)


ALL = list(range(FRAMES))


def frames_of(values: np.ndarray) -> list[int]:
    return np.round(values[:, 0] * 1000).astype(int).tolist()


def counted(matched: Matched) -> list[int]:
    """Which frames count, told by the truth; the others have to agree."""
    frames = np.round(matched.truth[:, 0] * 25).astype(int).tolist()
    assert frames_of(matched.offline) == frames
    assert frames_of(matched.served) == frames
    assert frames_of(matched.served_spread * 10) == frames
    assert frames_of(matched.offline_spread * 10) == frames
    return frames


def test_every_frame_with_an_estimate_in_both_counts() -> None:
    matched = match(TRUTH, estimates(ALL), estimates(ALL))
    assert counted(matched) == ALL
    assert (matched.frames, matched.lost, matched.strange) == (FRAMES, 0, 0)
    assert matched.left_out == LeftOut(only_offline=0, only_served=0, in_neither=0)


def test_frame_unknown_to_one_is_left_out_of_both_and_said_to_be() -> None:
    matched = match(TRUTH, estimates(ALL, unknown=(0, 1)), estimates(ALL, unknown=(0, 2, 3, 4)))
    assert counted(matched) == [5, 6, 7, 8, 9]
    assert matched.left_out == LeftOut(only_offline=3, only_served=1, in_neither=1)
    assert matched.lost == 0


def test_rows_find_their_frames_in_any_order() -> None:
    assert counted(match(TRUTH, estimates(ALL), estimates(ALL[::-1]))) == ALL


def test_missing_frame_is_lost_and_moves_no_other() -> None:
    matched = match(TRUTH, estimates(ALL), estimates([k for k in ALL if k != 4]))
    assert counted(matched) == [k for k in ALL if k != 4]
    assert (matched.lost, matched.left_out.only_offline) == (1, 1)


def test_truth_of_frames_that_were_never_decoded_is_lost() -> None:
    matched = match(TRUTH, estimates(ALL), estimates(ALL[:7]))
    assert counted(matched) == ALL[:7]
    assert matched.lost == 3


def test_row_of_no_frame_is_strange_and_counts_nowhere() -> None:
    matched = match(TRUTH, estimates(ALL), estimates([*ALL, FRAMES, FRAMES + 1]))
    assert counted(matched) == ALL
    assert (matched.lost, matched.strange) == (0, 2)


def test_times_may_differ_by_a_rounded_tick_and_no_more() -> None:
    assert counted(match(TRUTH, estimates(ALL), estimates(ALL, shift=5e-5))) == ALL
    with pytest.raises(FramesDisagree, match=r"clip, served: frame 0 is at 0\.002000 s, not"):
        match(TRUTH, estimates(ALL), estimates(ALL, shift=0.002))


def test_frame_that_was_dropped_without_a_gap_in_the_index_is_noticed() -> None:
    whole = estimates(ALL)
    dropped = replace(whole, index=whole.index[:-1], times=np.delete(whole.times, 3))
    dropped = replace(dropped, mean=whole.mean[:-1], spread=whole.spread[:-1])
    with pytest.raises(FramesDisagree, match="frame 3 is at"):
        match(TRUTH, whole, dropped)


def test_two_rows_of_one_frame_are_refused() -> None:
    with pytest.raises(FramesDisagree, match="offline: two rows of one frame"):
        match(TRUTH, estimates([*ALL, 3]), estimates(ALL))
