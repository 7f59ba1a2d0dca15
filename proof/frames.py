"""The same frames three times over: their truth, and what was estimated offline and served.

A frame counts if it has truth and an estimate in both; every other one is left out of both.
The truth of a synthetic clip has no gaps: what is left out is what nobody could estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from proof.errors import FramesDisagree
from service.domain.arrays import Booleans, Integers
from service.domain.signatures import TARGETS

Doubles = npt.NDArray[np.float64]

CLOCK_SECONDS: Final = 1e-4
"""How far two accounts of a frame's time may differ: a container's tick, rounded."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What is known of a clip's frames: times (T,) in seconds, targets (T, 2)."""

    clip: str
    rate: str
    times: Doubles
    targets: Doubles

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimates:
    """What was estimated of a clip, one row a frame; mean and spread are NaN where unknown.

    index: (N,) which frame a row is. times: (N,) seconds. mean, spread: (N, 2).
    """

    index: Integers
    times: Doubles
    mean: Doubles
    spread: Doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """How many frames do not count: without an estimate in one of the two, or in both."""

    only_offline: int
    only_served: int
    in_neither: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matched:
    """The frames of one clip that count: (N, 2) each.

    lost: frames that have truth and no row in one of the two. strange: rows of no such frame.
    """

    rate: str
    truth: Doubles
    offline: Doubles
    offline_spread: Doubles
    served: Doubles
    served_spread: Doubles
    left_out: LeftOut
    frames: int
    lost: int
    strange: int


def match(truth: Truth, offline: Estimates, served: Estimates) -> Matched:
    """Bring the rows of both to the frames of the truth.

    Raises: FramesDisagree: a frame is given twice, or two times of one frame differ.
    """
    drawn = _place(truth, offline, "offline")
    sent = _place(truth, served, "served")
    known, answered = drawn.known, sent.known
    counted = known & answered
    return Matched(
        rate=truth.rate,
        truth=truth.targets[counted],
        offline=drawn.mean[counted],
        offline_spread=drawn.spread[counted],
        served=sent.mean[counted],
        served_spread=sent.spread[counted],
        left_out=LeftOut(
            only_offline=int((known & ~answered).sum()),
            only_served=int((answered & ~known).sum()),
            in_neither=int((~known & ~answered).sum()),
        ),
        frames=len(truth),
        lost=int((~(drawn.given & sent.given)).sum()),
        strange=drawn.strange + sent.strange,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Placed:
    mean: Doubles
    spread: Doubles
    given: Booleans
    strange: int

    @property
    def known(self) -> Booleans:
        finite: Booleans = np.isfinite(self.mean)
        return finite[:, 0] & finite[:, 1]


def _place(truth: Truth, estimates: Estimates, who: str) -> _Placed:
    """Rows to frames by index; the times of the two have to agree."""
    index = estimates.index
    if len(np.unique(index)) != len(index):
        raise FramesDisagree(f"{truth.clip}, {who}: two rows of one frame")
    ours = (index >= 0) & (index < len(truth))
    rows = index[ours]
    apart = np.abs(estimates.times[ours] - truth.times[rows])
    if (apart > CLOCK_SECONDS).any():
        first = int(np.argmax(apart > CLOCK_SECONDS))
        raise FramesDisagree(
            f"{truth.clip}, {who}: frame {rows[first]} is at {estimates.times[ours][first]:.6f} s, "
            f"not at {truth.times[rows[first]]:.6f} s"
        )
    mean, spread = (np.full((len(truth), len(TARGETS)), np.nan) for _ in range(2))
    mean[rows], spread[rows] = estimates.mean[ours], estimates.spread[ours]
    given = np.zeros(len(truth), np.bool_)
    given[rows] = True
    return _Placed(mean=mean, spread=spread, given=given, strange=int((~ours).sum()))
