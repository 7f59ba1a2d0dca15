"""Figures of matched frames: concordance and coverage, served beside offline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proof.frames import Doubles, Matched
from training.metrics import Scores, coverage, score


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What some clips' frames, one after the other, are worth.

    agreement: the concordance of served with offline, truth aside. apart: their mean distance.
    """

    clips: int
    frames: int
    counted: int
    offline: Scores
    served: Scores
    offline_coverage: Scores
    served_coverage: Scores
    agreement: Scores
    apart: Scores

    @property
    def difference(self) -> Scores:
        """Served less offline."""
        return Scores(
            valence=self.served.valence - self.offline.valence,
            arousal=self.served.arousal - self.offline.arousal,
        )


def score_frames(clips: Sequence[Matched]) -> Figures:
    """Score clips together. Raises: NothingAnnotated: no frame counts."""
    truth, offline, served, offline_spread, served_spread = (
        np.concatenate(parts)
        for parts in zip(*((c.truth, c.offline, c.served, c.offline_spread, c.served_spread)
                           for c in clips), strict=True)
    )  # fmt: skip
    return Figures(
        clips=len(clips),
        frames=sum(clip.frames for clip in clips),
        counted=len(truth),
        offline=score(offline, truth),
        served=score(served, truth),
        offline_coverage=coverage(offline, offline_spread, truth),
        served_coverage=coverage(served, served_spread, truth),
        agreement=score(served, offline),
        apart=_distance(served, offline),
    )


def by_rate(clips: Sequence[Matched]) -> dict[str, Figures]:
    """The figures of each rate, in the order in which rates first appear."""
    rates = dict.fromkeys(clip.rate for clip in clips)
    return {rate: score_frames([clip for clip in clips if clip.rate == rate]) for rate in rates}


def _distance(served: Doubles, offline: Doubles) -> Scores:
    valence, arousal = np.abs(served - offline).mean(axis=0).tolist()
    return Scores(valence=valence, arousal=arousal)
