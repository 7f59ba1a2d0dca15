"""What a part is worth, and whether that is more than another seed changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Final

NAMES: Final = ("valence", "arousal", "mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A run and its ensemble's figures.

    name: its folder's, or the ablation's; backbones: the run that they are from.
    """

    name: str
    run: str
    seed: int
    backbones: str
    figures: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """One line of a report."""
        return {"run": self.run, "seed": self.seed, "backbones": self.backbones, **self.figures}


def compare_seeds(full: Sequence[Contender]) -> dict[str, Any] | None:
    """The same model from several seeds: mean, sample standard deviation and range; null for one.

    Args: full: the run itself and its other seeds.
    """
    if len(full) < 2:
        return None
    values = {name: [one.figures[name] for one in full] for name in NAMES}
    return {
        "runs": [one.as_dict() for one in full],
        "mean": {name: fmean(every) for name, every in values.items()},
        "spread": {
            "deviation": {name: stdev(every) for name, every in values.items()},
            "range": {name: max(every) - min(every) for name, every in values.items()},
        },
    }


def compare_ablations(
    ablated: Sequence[Contender], full: Sequence[Contender], seeds: Mapping[str, Any] | None
) -> dict[str, Any]:
    """By name, the mean of its runs, and how far the full model is ahead.

    Each run stands against the full model of its own seed, or of the first where there is none.
    `beyond_seeds` says whether the lead is larger than the range between seeds; null without.
    """
    names = dict.fromkeys(one.name for one in ablated)
    return {
        name: _compare([one for one in ablated if one.name == name], full, seeds) for name in names
    }


def _compare(
    runs: Sequence[Contender], full: Sequence[Contender], seeds: Mapping[str, Any] | None
) -> dict[str, Any]:
    peers = [_peer(run, full) for run in runs]
    margin = {
        name: fmean(
            peer.figures[name] - run.figures[name] for run, peer in zip(runs, peers, strict=True)
        )
        for name in NAMES
    }
    spread = None if seeds is None else seeds["spread"]["range"]
    return {
        **{name: fmean(run.figures[name] for run in runs) for name in NAMES},
        "runs": [
            run.as_dict() | {"against": peer.run} for run, peer in zip(runs, peers, strict=True)
        ],
        "margin": margin,
        "beyond_seeds": spread and {name: margin[name] > spread[name] for name in NAMES},
    }


def _peer(run: Contender, full: Sequence[Contender]) -> Contender:
    return next((one for one in full if one.seed == run.seed), full[0])
