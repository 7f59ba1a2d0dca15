"""Part `paper`: the paper's networks as exported, against plain eager PyTorch on the same core."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.cost import FrameCost, Measurement, measure_in_turns, median_costs, significant
from bench.network_stages import list_network_calls, list_plain_calls, torch_threads
from service.domain.estimator import EstimatorId
from service.settings import Settings
from training.export import ExportTarget, export_untrained
from training.presets import PAPER, build_networks

_FRAMES: Final = 8
"""Crops and patches of a call: of more than a second, eager."""
_ROUNDS: Final = 3


def measure_paper(settings: Settings) -> dict[str, Any]:
    """Export the networks of `paper` with random weights, and measure both on one thread.

    gain: processor time per frame of all networks, eager, by that of the exported files.
    """
    with TemporaryDirectory(prefix="circumplex-paper-") as folder, torch_threads(1):
        target = ExportTarget(
            repository=Path(folder), estimator=EstimatorId(name=PAPER.name, version=1)
        )
        export_untrained(PAPER, target, seed=0)
        settings = settings.serving_only(PAPER.name).model_copy(
            update={"model_repository": Path(folder)}
        )
        exported = _measure(list_network_calls(settings, _FRAMES))
        eager = _measure(list_plain_calls(build_networks(PAPER, 0), settings, _FRAMES))
    return {
        "eager": {name: cost.to_json() for name, cost in eager.items()},
        "exported": {name: cost.to_json() for name, cost in exported.items()},
        "gain": significant(_total_seconds(eager) / _total_seconds(exported)),
    }


def _measure(calls: Mapping[str, Measurement]) -> dict[str, FrameCost]:
    return median_costs(measure_in_turns(calls, min_rounds=_ROUNDS))


def _total_seconds(costs: Mapping[str, FrameCost]) -> float:
    return sum(cost.cpu_seconds for cost in costs.values())
