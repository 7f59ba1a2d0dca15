"""Command `make bench-live`: latency of streaming results, by the number of streams.

Every stream sends 640x360 JPEG at 25 frames a second, and its audio, as a camera would, from the
same machine. Each number of streams is run several times and the worst run counts: the one with
the highest p99. Latency is what the gateway measures: from a frame's last byte received to its
provisional result sent. The processor time of every part is told, that of the load as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.camera_recording import FRAME_SIZE, RATE_HZ, CameraRecording, render_recording
from bench.processes import GROUPS, difference, read_cpu_seconds, wait_until_idle
from bench.stream_load import StreamStatistics, run_streams
from service.embedded.stack import Stack, isolate_settings, run_stack
from service.pipeline.estimators import read_default_manifest
from service.settings import YARDSTICK, Settings

OUT: Final = Path("out") / "live.json"
STREAM_COUNTS: Final = (1, 2, 4, 8)
RUNS: Final = 3
RUN_SECONDS: Final = 20.0
RECORDING_SECONDS: Final = 8.0
WARM_UP_SECONDS: Final = 4.0
_COLUMNS: Final = ("p50_ms", "p95_ms", "p99_ms", "client_p99_ms", "client_max_ms", "dropped")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    """One run. cpu_ms: processor milliseconds a frame by group, starts and ends included."""

    statistics: StreamStatistics
    cpu_ms: dict[str, float]


def main() -> None:
    """Measure, print and write out/live.json."""
    arguments = _parse_arguments()
    console = Console()
    OUT.parent.mkdir(exist_ok=True)
    width, height = FRAME_SIZE
    console.print(f"Drawing {RECORDING_SECONDS:.0f} s of {width}x{height} JPEG and audio ...")
    recording = render_recording(RECORDING_SECONDS)
    limits = {
        "max_streams": max(arguments.streams),
        "stream_admission_latency_seconds": 3600.0,
    }
    settings = Settings().serving_only(arguments.model).model_copy(update=limits)
    runs: dict[int, list[LiveRun]] = {}
    with (
        TemporaryDirectory() as folder,
        run_stack(isolate_settings(settings, Path(folder))) as stack,
    ):
        console.print("Warming up ...")
        _measure(stack, recording, 1, WARM_UP_SECONDS)
        for streams in arguments.streams:
            console.print(
                f"Measuring {streams} stream(s), {arguments.runs} times "
                f"{arguments.seconds:.0f} s ..."
            )
            runs[streams] = [
                _measure(stack, recording, streams, arguments.seconds)
                for _ in range(arguments.runs)
            ]
    report = _build_report(runs, settings, recording)
    OUT.write_text(json.dumps(report, indent=2) + "\n")
    _show_table(runs, console)
    console.print(f"Written: {OUT}")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.live", description=__doc__)
    parser.add_argument(
        "--streams", type=int, nargs="+", default=list(STREAM_COUNTS), help="numbers of streams"
    )
    parser.add_argument("--seconds", type=float, default=RUN_SECONDS, help="length of each run")
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each number of streams")
    parser.add_argument("--model", default=YARDSTICK, help="name of the model")
    return parser.parse_args()


def _measure(stack: Stack, recording: CameraRecording, streams: int, seconds: float) -> LiveRun:
    address = f"{stack.settings.host}:{stack.settings.grpc_port}"
    wait_until_idle(stack.parts)
    before = read_cpu_seconds(stack.parts)
    statistics = asyncio.run(run_streams(address, recording, streams=streams, seconds=seconds))
    spent = difference(read_cpu_seconds(stack.parts), before)
    frames = round(streams * seconds * RATE_HZ)
    return LiveRun(
        statistics=statistics,
        cpu_ms={group: round(1e3 * each / frames, 3) for group, each in spent.items()},
    )


def _build_report(
    runs: dict[int, list[LiveRun]], settings: Settings, recording: CameraRecording
) -> dict[str, Any]:
    return {
        "model": str(read_default_manifest(settings).id),
        "cores": len(os.sched_getaffinity(0)),
        "frames": {
            "width": FRAME_SIZE[0],
            "height": FRAME_SIZE[1],
            "fps": RATE_HZ,
            "mean_bytes": round(sum(map(len, recording.jpegs)) / len(recording.jpegs)),
        },
        "streams": {
            streams: {
                **asdict(_worst(each).statistics),
                "sustained": _is_sustained(each),
                "cpu_ms_per_frame": _worst(each).cpu_ms,
                "runs": [asdict(run) for run in each],
            }
            for streams, each in runs.items()
        },
    }


def _worst(runs: Sequence[LiveRun]) -> LiveRun:
    return max(runs, key=lambda run: run.statistics.p99_ms)


def _is_sustained(runs: Sequence[LiveRun]) -> bool:
    return all(run.statistics.is_sustained for run in runs)


def _show_table(runs: dict[int, list[LiveRun]], console: Console) -> None:
    table = Table("streams", *_COLUMNS, "kept up", "CPU ms a frame", title="worst run")
    for streams, each in runs.items():
        numbers = asdict(_worst(each).statistics)
        table.add_row(
            str(streams),
            *(f"{numbers[name]:.4g}" for name in _COLUMNS),
            "yes" if _is_sustained(each) else "no",
            f"{sum(_worst(each).cpu_ms.values()):.2f}",
        )
    console.print(table)
    costs = Table("CPU ms a frame", *map(str, runs))
    for group in GROUPS:
        costs.add_row(group, *(f"{_worst(each).cpu_ms[group]:.2f}" for each in runs.values()))
    console.print(costs)


if __name__ == "__main__":
    main()
