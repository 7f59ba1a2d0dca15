"""Part `paper`: the paper's networks as exported, against plain eager PyTorch on the same core."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch

from bench.cost import FrameCost, Measurement, measure_in_turns, median_costs, significant
from bench.network_stages import list_network_calls, list_plain_calls, torch_threads
from service.domain.audio_grid import MEL_BANDS, PATCH_HOPS
from service.domain.estimator import EstimatorId
from service.domain.model_signatures import CROP_SIDE
from service.settings import Settings
from training.export import ExportTarget, export_untrained
from training.inference.calibration_samples import CalibrationSamples
from training.inference.precision import Precision
from training.presets import PAPER, build_networks

_FRAMES: Final = 8
"""Crops and patches of a call: of more than a second, eager."""
_ROUNDS: Final = 3


def measure_paper(settings: Settings) -> dict[str, Any]:
    """Export the networks of `paper` with random weights, and measure all on one thread.

    In every precision of an export that this processor has instructions for. gain: processor time
    per frame of all networks, eager, by that of the exported files; of the best precision.
    """
    with torch_threads(1):
        eager = _measure(list_plain_calls(build_networks(PAPER, 0), settings, _FRAMES))
        exported = {
            precision: _measure_exported(settings, precision)
            for precision in Precision
            if precision.is_native
        }
    gains = {
        precision: significant(_total_seconds(eager) / _total_seconds(costs))
        for precision, costs in exported.items()
    }
    return {
        "eager": {name: cost.to_json() for name, cost in eager.items()},
        "exported": {
            precision: {name: cost.to_json() for name, cost in costs.items()}
            for precision, costs in exported.items()
        },
        "gains": gains,
        "gain": max(gains.values()),
    }


def _measure_exported(settings: Settings, precision: Precision) -> dict[str, FrameCost]:
    with TemporaryDirectory(prefix="circumplex-paper-") as folder:
        target = ExportTarget(
            repository=Path(folder),
            estimator=EstimatorId(name=PAPER.name, version=1),
            precision=precision,
            samples=_draw_samples() if precision is Precision.INT8 else None,
        )
        export_untrained(PAPER, target, seed=0)
        settings = settings.serving_only(PAPER.name).model_copy(
            update={"model_repository": Path(folder)}
        )
        return _measure(list_network_calls(settings, _FRAMES))


def _draw_samples() -> CalibrationSamples:
    """Noise: the speed does not depend on the ranges."""
    generator = torch.Generator().manual_seed(0)
    crops = torch.randint(
        0, 256, (8, 3, CROP_SIDE, CROP_SIDE), dtype=torch.uint8, generator=generator
    )
    return CalibrationSamples(
        crops=crops, patches=torch.randn(8, PATCH_HOPS, MEL_BANDS, generator=generator)
    )


def _measure(calls: Mapping[str, Measurement]) -> dict[str, FrameCost]:
    return median_costs(measure_in_turns(calls, min_rounds=_ROUNDS))


def _total_seconds(costs: Mapping[str, FrameCost]) -> float:
    return sum(cost.cpu_seconds for cost in costs.values())
