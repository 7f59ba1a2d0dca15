"""Parts `stages` and `processor`: every stage alone, and what the processor could do at most."""

from __future__ import annotations

from typing import Any, Final

from bench.arithmetic import measure_processor
from bench.clips import BenchClips
from bench.cost import FrameCost, measure_in_turns, median_costs, timed
from bench.extraction_stages import BareMesh, ExtractionBench, decode_bare
from bench.network_stages import (
    count_mflop,
    list_network_calls,
    list_slots,
    make_inputs,
    sweep_batches,
    torch_threads,
)
from bench.processes import available_cores
from service.settings import YARDSTICK, Settings
from training.presets import MINI, build_networks
from training.serving import build_served_models

_NETWORK_SECONDS: Final = 6.0
_SWEEP_SECONDS: Final = 4.0


def measure_stages(clips: BenchClips, settings: Settings) -> dict[str, Any]:
    """Measure the stages of the decode process on two clips, and the networks, on one thread."""
    with torch_threads(1):
        networks = median_costs(
            measure_in_turns(list_network_calls(settings), seconds=_NETWORK_SECONDS)
        )
        batches = sweep_batches(settings, seconds=_SWEEP_SECONDS)
    return {
        "extraction": _to_json(_measure_extraction(ExtractionBench.open(clips.long, settings))),
        "extraction_grain": _to_json(
            _measure_extraction(ExtractionBench.open(clips.grain, settings))
        ),
        "networks": _to_json(networks),
        "batches": {
            slot: {str(batch): cost.to_json() for batch, cost in costs.items()}
            for slot, costs in batches.items()
        },
    }


def measure_limits() -> dict[str, Any]:
    """Measure the processor, and count the operations of the networks of `mini`."""
    settings = Settings().serving_only(YARDSTICK)
    models = build_served_models(build_networks(MINI, 0))
    return measure_processor(len(available_cores())) | {
        "mflop_per_frame": {
            slot: count_mflop(models[slot], *make_inputs(slot, settings))
            for slot in list_slots(settings)
        },
    }


def _measure_extraction(bench: ExtractionBench) -> dict[str, FrameCost]:
    measurements = {
        "bare_decoding": timed(lambda: decode_bare(bench.clip)),
        "bare_mesh": timed(BareMesh(bench.settings).run),
        "decoding": timed(bench.decode),
        "decoding_threaded": timed(bench.decode_threaded),
        "face": bench.measure_faces,
        "audio": timed(bench.read_audio),
        "extraction": timed(bench.extract),
    }
    return median_costs(measure_in_turns(measurements))


def _to_json(costs: dict[str, FrameCost]) -> dict[str, Any]:
    return {name: cost.to_json() for name, cost in costs.items()}
