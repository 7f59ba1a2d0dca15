"""Ratios of CPU time within one run: the least that some work needs, relative to what it takes.

Each falls when its stage becomes dearer. Both sides use the same libraries
on the same clip at the same time, so that another processor or a busy machine changes both:

- decoding: the library's decoder alone, to frames as the service reads them;
- faces: the mesh network once a frame, to all face work;
- a network: the same network as plain eager PyTorch in float32, to the exported file: above 1
  where the export gains. PyTorch's kernels depend on the processor, and so do these ratios: each
  has the kind of processor in its name, and the precision of an export in another than float32;
- service: the stages alone, to all processes of the stack with four clips at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Final, Self

from bench.arithmetic import name_processor
from bench.clips import HEIGHT, WIDTH
from bench.cost import FrameCost, Measurement, measure_in_turns, timed
from bench.extraction_stages import BareMesh, ExtractionBench, decode_bare
from bench.network_stages import list_network_calls, list_plain_calls, torch_threads
from bench.stack_load import StackUnderLoad, run_stack_under_load
from service.domain.model_signatures import AUDIO_BACKBONE, VISUAL_BACKBONE
from service.pipeline.estimators import read_default_manifest
from service.settings import Settings
from training.inference.precision import Precision
from training.presets import MINI, build_networks
from training.synthetic.clip import render_demo_clip

CLIP_SECONDS: Final = 4
COPIES: Final = 4
ROUNDS: Final = 5
_BARE: Final = "bare "
_BACKBONES: Final = (VISUAL_BACKBONE.name, AUDIO_BACKBONE.name)


class RatioBench:
    """A clip, a running stack and the measurements of a round."""

    def __init__(self, clip: Path, settings: Settings) -> None:
        """Draw the clip. The stack starts with the context."""
        render_demo_clip(clip, seconds=CLIP_SECONDS, height=HEIGHT, width=WIDTH)
        self._clip, self._settings = clip, settings
        self._stack = ExitStack()
        self._measurements: dict[str, Measurement] = {}

    def __enter__(self) -> Self:
        load = self._stack.enter_context(run_stack_under_load(self._settings))
        self._stack.enter_context(torch_threads(1))
        self._measurements = _list_measurements(self._clip, self._settings, load)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(error_type, error, trace)

    def measure(self) -> list[dict[str, FrameCost]]:
        """Measure the costs of ROUNDS rounds."""
        return measure_in_turns(self._measurements, min_rounds=ROUNDS)


def compute_ratios(rounds: Sequence[Mapping[str, FrameCost]]) -> dict[str, float]:
    """Median over the rounds of the ratios within each round."""
    found = [
        _compute_round({name: cost.cpu_seconds for name, cost in each.items()}) for each in rounds
    ]
    return {name: round(median(each[name] for each in found), 3) for name in found[0]}


def _compute_round(cpu: Mapping[str, float]) -> dict[str, float]:
    bare = {name.removeprefix(_BARE): cost for name, cost in cpu.items() if name.startswith(_BARE)}
    not_stages = ("bare_decoding", "bare_mesh", "service", *(_BARE + name for name in bare))
    stages = sum(cost for name, cost in cpu.items() if name not in not_stages)
    return {
        "decoding": cpu["bare_decoding"] / cpu["decoding"],
        "faces": cpu["bare_mesh"] / cpu["face"],
        **{name: cost / cpu[name] for name, cost in bare.items()},
        "service": stages / cpu["service"],
    }


def _list_measurements(
    clip: Path, settings: Settings, load: StackUnderLoad
) -> dict[str, Measurement]:
    bench = ExtractionBench.open(clip, settings)
    calls = list_network_calls(settings)
    networks: dict[str, Measurement] = {}
    processor = name_processor()
    computation = read_default_manifest(settings).document.get("computation", {})
    precision = computation.get("precision", Precision.FLOAT32)
    suffix = "" if precision == Precision.FLOAT32 else f" {precision}"
    for slot, plain in list_plain_calls(build_networks(MINI, 0), settings).items():
        name = f"{slot}{suffix if slot in _BACKBONES else ''} on {processor}"
        networks[name], networks[_BARE + name] = calls[slot], plain
    return {
        "bare_decoding": timed(lambda: decode_bare(clip)),
        "decoding": timed(bench.decode),
        "bare_mesh": timed(BareMesh(settings).run),
        "face": bench.measure_faces,
        "audio": timed(bench.read_audio),
        **networks,
        "service": lambda: load.run(clip, COPIES).cost,
    }
