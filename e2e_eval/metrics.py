"""Metrics of matched frames: concordance and coverage, served and offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from e2e_eval.frame_matching import MatchedFrames
from service.domain.array_types import Float64Array
from training.metrics import Scores, compute_scores, interval_coverage
from training.person_metrics import (
    MIN_PEOPLE,
    Interval,
    PersonSums,
    describe_people,
    find_intervals,
    sum_by_person,
)

INTERVAL_SHARE: Final = 0.99
"""Share of samples of people inside an interval by which a target is judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationMetrics:
    """Metrics over all frames of some clips.

    counted: number of scored frames. served_people, offline_people: see `describe_people`.
    served_interval, difference_interval: central 99 % over people; None for one person.
    agreement: concordance of served with offline estimates.
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
    offline_people: Mapping[str, Any]
    served_people: Mapping[str, Any]
    served_interval: Mapping[str, Interval] | None
    difference_interval: Mapping[str, Interval] | None

    @property
    def people(self) -> int:
        """Number of people with a scored frame."""
        return self.served_people["people"]

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
    offline_sums, served_sums = _sum_people(clips)
    intervals = _find_intervals(offline_sums, served_sums)
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
        offline_people=describe_people(offline_sums),
        served_people=describe_people(served_sums),
        served_interval=intervals[0],
        difference_interval=intervals[1],
    )


def compute_metrics_by_rate(clips: Sequence[MatchedFrames]) -> dict[str, EvaluationMetrics]:
    """Compute metrics of each frame rate, in order of first appearance."""
    rates = dict.fromkeys(clip.rate for clip in clips)
    return {rate: compute_metrics([clip for clip in clips if clip.rate == rate]) for rate in rates}


def _sum_people(clips: Sequence[MatchedFrames]) -> tuple[PersonSums, PersonSums]:
    people, truths = [clip.person for clip in clips], [clip.truth for clip in clips]
    return (
        sum_by_person(people, [clip.offline for clip in clips], truths),
        sum_by_person(people, [clip.served for clip in clips], truths),
    )


def _find_intervals(
    offline: PersonSums, served: PersonSums
) -> tuple[Mapping[str, Interval] | None, Mapping[str, Interval] | None]:
    """Find the intervals of the served CCC and of its difference, over the same samples."""
    if len(served) < MIN_PEOPLE:
        return None, None
    samples = served.resample_ccc()
    return (
        find_intervals(samples, INTERVAL_SHARE),
        find_intervals(samples - offline.resample_ccc(), INTERVAL_SHARE),
    )


def _mean_absolute_difference(served: Float64Array, offline: Float64Array) -> Scores:
    valence, arousal = np.abs(served - offline).mean(axis=0).tolist()
    return Scores(valence=valence, arousal=arousal)
