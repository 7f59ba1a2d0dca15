"""Ratios of CPU time within one run: the least that some work needs, relative to what it takes.

Each is at most about 1, and falls when its stage becomes dearer. Both sides use the same libraries
on the same clip at the same time, so that another processor or a busy machine changes both:

- decoding: the library's decoder alone, to frames as the service reads them;
- faces: the mesh network once a frame, to all face work;
- a network: the plain network in float32, to the exported file; it has the file's precision in its
  name, for what that gains depends on the processor;
- service: the stages alone, to all processes of the stack with four clips at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Final, Self

from bench.clips import HEIGHT, WIDTH
from bench.cost import FrameCost, Measurement, measure_in_turns, timed
from bench.extraction_stages import BareMesh, ExtractionBench, decode_bare
from bench.network_stages import list_network_calls, list_plain_calls, torch_threads
from bench.stack_load import StackUnderLoad, run_stack_under_load
from service.settings import Settings
from training.synthetic.clip import render_demo_clip

CLIP_SECONDS: Final = 4
COPIES: Final = 4
ROUNDS: Final = 5
_PLAIN: Final = "plain "


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

    def measure(self) -> dict[str, float]:
        """Measure every ratio."""
        return compute_ratios(measure_in_turns(self._measurements, min_rounds=ROUNDS))


def compute_ratios(rounds: Sequence[Mapping[str, FrameCost]]) -> dict[str, float]:
    """Median over the rounds of the ratios within each round."""
    found = [
        _compute_round({name: cost.cpu_seconds for name, cost in each.items()}) for each in rounds
    ]
    return {name: round(median(each[name] for each in found), 3) for name in found[0]}


def _compute_round(cpu: Mapping[str, float]) -> dict[str, float]:
    plain = {
        name.removeprefix(_PLAIN): cost for name, cost in cpu.items() if name.startswith(_PLAIN)
    }
    stages = ("decoding", "face", "audio", *plain)
    return {
        "decoding": cpu["bare_decoding"] / cpu["decoding"],
        "faces": cpu["bare_mesh"] / cpu["face"],
        **{name: cost / cpu[name] for name, cost in plain.items()},
        "service": sum(cpu[name] for name in stages) / cpu["service"],
    }


def _list_measurements(
    clip: Path, settings: Settings, load: StackUnderLoad
) -> dict[str, Measurement]:
    bench = ExtractionBench.open(clip, settings)
    plain = {f"{_PLAIN}{name}": call for name, call in list_plain_calls(settings).items()}
    return {
        "bare_decoding": timed(lambda: decode_bare(clip)),
        "decoding": timed(bench.decode),
        "bare_mesh": timed(BareMesh(settings).run),
        "face": bench.measure_faces,
        "audio": timed(bench.read_audio),
        **list_network_calls(settings),
        **plain,
        "service": lambda: load.run(clip, COPIES).cost,
    }
