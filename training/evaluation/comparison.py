"""Comparison of a run with its ablations and with other seeds of the same model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Final

METRIC_NAMES: Final = ("valence", "arousal", "mean")
MIN_SEEDS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRun:
    """A run and its ensemble's metrics.

    name: of its folder, or of the ablation; backbones: the run that they were trained in.
    """

    name: str
    run: str
    seed: int
    backbones: str
    metrics: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the run's entry of a report."""
        return {"run": self.run, "seed": self.seed, "backbones": self.backbones, **self.metrics}


def compare_seeds(full_runs: Sequence[ScoredRun]) -> dict[str, Any] | None:
    """Summarise several seeds: mean, sample standard deviation and range; None for one seed.

    `full_runs` are the run itself and its other seeds.
    """
    if len(full_runs) < MIN_SEEDS:
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
    """Compute for each ablation the mean of its runs and the margin of the full model.

    Each run is compared with the full model of its own seed, or else of the first. `beyond_seeds`
    is true where the margin exceeds the range between seeds, None for one seed.
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
