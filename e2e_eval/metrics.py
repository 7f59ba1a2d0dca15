"""Metrics of matched frames: concordance and coverage, served and offline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from e2e_eval.frame_matching import MatchedFrames
from service.domain.array_types import Float64Array
from training.metrics import Scores, compute_scores, interval_coverage


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationMetrics:
    """Metrics over all frames of some clips.

    counted: number of scored frames. agreement: concordance of served with offline estimates.
    mean_absolute_difference: of served and offline estimates.
    """

    clips: int
    frames: int
    counted: int
    offline: Scores
    served: Scores
    offline_coverage: Scores
    served_coverage: Scores
    agreement: Scores
    mean_absolute_difference: Scores

    @property
    def difference(self) -> Scores:
        """Served minus offline scores."""
        return Scores(
            valence=self.served.valence - self.offline.valence,
            arousal=self.served.arousal - self.offline.arousal,
        )


def compute_metrics(clips: Sequence[MatchedFrames]) -> EvaluationMetrics:
    """Compute metrics of clips together. Raises: NoAnnotatedFrames: no frame is scored."""
    truth, offline, served, offline_spread, served_spread = (
        np.concatenate(parts)
        for parts in zip(*((c.truth, c.offline, c.served, c.offline_spread, c.served_spread)
                           for c in clips), strict=True)
    )  # fmt: skip
    return EvaluationMetrics(
        clips=len(clips),
        frames=sum(clip.frames for clip in clips),
        counted=len(truth),
        offline=compute_scores(offline, truth),
        served=compute_scores(served, truth),
        offline_coverage=interval_coverage(offline, offline_spread, truth),
        served_coverage=interval_coverage(served, served_spread, truth),
        agreement=compute_scores(served, offline),
        mean_absolute_difference=_mean_absolute_difference(served, offline),
    )


def compute_metrics_by_rate(clips: Sequence[MatchedFrames]) -> dict[str, EvaluationMetrics]:
    """Compute metrics of each frame rate, in order of first appearance."""
    rates = dict.fromkeys(clip.rate for clip in clips)
    return {rate: compute_metrics([clip for clip in clips if clip.rate == rate]) for rate in rates}


def _mean_absolute_difference(served: Float64Array, offline: Float64Array) -> Scores:
    valence, arousal = np.abs(served - offline).mean(axis=0).tolist()
    return Scores(valence=valence, arousal=arousal)
