"""Standard deviation of a fitted head, from its errors on people it has not met.

As that of a trained run it is of the estimates before smoothing, and so too wide for smoothed ones.
It knows how long ago the face was found and how large the estimate is: recordings of crops tell
neither the size of a face nor its score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from service.domain.uncertainty import (
    FULL_FACE_PIXELS,
    MAX_ABSENT_SECONDS,
    UNCALIBRATED,
    UncertaintyModel,
)
from training.evaluation.conditions import Scenario, ScoredFrames
from training.evaluation.uncertainty_fit import fit_uncertainty
from training.head_fitting.cross_fitting import HeldOutEstimates
from training.metrics import interval_coverage

_MAX_FRAMES: Final = 60_000
"""Frames of a fit: of more, every n-th of each recording."""


def fit_head_std(held_out: Sequence[HeldOutEstimates]) -> tuple[UncertaintyModel, dict[str, Any]]:
    """Fit the standard deviation, and measure it on the half of the people not fitted on.

    Returns: the model fitted on all; coverage of the 90 % interval, of estimates and of smoothed
        ones; JSON.
    """
    parts = [each for each in held_out if len(each.truth)]
    halves = [[p for p in parts if p.cell % 2 == half] for half in range(2)]
    covered = [
        _measure(_fit(halves[1 - half]), halves[half])
        for half in range(2)
        if halves[0] and halves[1]
    ]
    means = np.average(
        [[*each[:2]] for each in covered] or [[np.nan, np.nan]],
        axis=0,
        weights=[each[2] for each in covered] or [1],
    )
    figures = [None if np.isnan(value) else float(value) for value in means]
    return _fit(parts), {"coverage_90": figures[0], "coverage_90_smoothed": figures[1]}


def _fit(parts: Sequence[HeldOutEstimates]) -> UncertaintyModel:
    total = sum(len(each.truth) for each in parts)
    step = max(1, -(-total // _MAX_FRAMES))
    return fit_uncertainty([_describe(each, step) for each in parts], UNCALIBRATED)


def _measure(
    model: UncertaintyModel, parts: Sequence[HeldOutEstimates]
) -> tuple[float, float, int]:
    """Return the mean coverage of both targets, plain and smoothed, and the number of frames."""
    described = [_describe(each, 1) for each in parts]
    std = np.concatenate([model.compute_std(d.mean, d.spread, d.conditions) for d in described])
    truth = np.concatenate([each.truth for each in parts])
    plain = np.concatenate([each.fitted for each in parts])
    smoothed = np.concatenate([each.smoothed for each in parts])
    return (
        interval_coverage(plain, std, truth).mean,
        interval_coverage(smoothed, std, truth).mean,
        len(truth),
    )


def _describe(part: HeldOutEstimates, step: int) -> ScoredFrames:
    mean = part.fitted[::step].astype(np.float32)
    absent = np.minimum(part.absent_seconds[::step], MAX_ABSENT_SECONDS)
    constant = np.tile((FULL_FACE_PIXELS, 1.0, 0.0), (len(mean), 1))
    return ScoredFrames(
        scenario=Scenario.AS_RECORDED,
        subject=part.recording.subject,
        rate="",
        mean=mean,
        spread=np.zeros_like(mean),
        truth=part.truth[::step].astype(np.float32),
        conditions=np.concatenate([absent[:, None], constant], axis=1),
    )
