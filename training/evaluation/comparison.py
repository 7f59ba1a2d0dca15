"""What a part is worth, and whether that is more than another seed changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Final

METRIC_NAMES: Final = ("valence", "arousal", "mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRun:
    """A run and its ensemble's figures.

    name: its folder's, or the ablation's; backbones: the run that they are from.
    """

    name: str
    run: str
    seed: int
    backbones: str
    metrics: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """One line of a report."""
        return {"run": self.run, "seed": self.seed, "backbones": self.backbones, **self.metrics}


def compare_seeds(full_runs: Sequence[ScoredRun]) -> dict[str, Any] | None:
    """The same model from several seeds: mean, sample standard deviation and range; null for one.

    Args: full: the run itself and its other seeds.
    """
    if len(full_runs) < 2:
        return None
    values = {name: [one.metrics[name] for one in full_runs] for name in METRIC_NAMES}
    return {
        "runs": [one.as_dict() for one in full_runs],
        "mean": {name: fmean(every) for name, every in values.items()},
        "spread": {
            "deviation": {name: stdev(every) for name, every in values.items()},
            "range": {name: max(every) - min(every) for name, every in values.items()},
        },
    }


def compare_ablations(
    ablated: Sequence[ScoredRun], full_runs: Sequence[ScoredRun], seeds: Mapping[str, Any] | None
) -> dict[str, Any]:
    """By name, the mean of its runs, and how far the full model is ahead.

    Each run stands against the full model of its own seed, or of the first where there is none.
    `beyond_seeds` says whether the lead is larger than the range between seeds; null without.
    """
    names = dict.fromkeys(one.name for one in ablated)
    return {
        name: _compare_with_full([one for one in ablated if one.name == name], full_runs, seeds)
        for name in names
    }


def _compare_with_full(
    runs: Sequence[ScoredRun], full_runs: Sequence[ScoredRun], seeds: Mapping[str, Any] | None
) -> dict[str, Any]:
    peers = [_find_same_seed(run, full_runs) for run in runs]
    margin = {
        name: fmean(
            peer.metrics[name] - run.metrics[name] for run, peer in zip(runs, peers, strict=True)
        )
        for name in METRIC_NAMES
    }
    spread = None if seeds is None else seeds["spread"]["range"]
    return {
        **{name: fmean(run.metrics[name] for run in runs) for name in METRIC_NAMES},
        "runs": [
            run.as_dict() | {"against": peer.run} for run, peer in zip(runs, peers, strict=True)
        ],
        "margin": margin,
        "beyond_seeds": spread and {name: margin[name] > spread[name] for name in METRIC_NAMES},
    }


def _find_same_seed(run: ScoredRun, full_runs: Sequence[ScoredRun]) -> ScoredRun:
    return next((one for one in full_runs if one.seed == run.seed), full_runs[0])
