"""Command `make bench-live`: latency of streaming results, by the number of streams.

Every stream sends 640x360 JPEG at 25 frames a second, and its audio, as a camera would. Latency is
what the gateway measures: from a frame's last byte received to its provisional result sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.camera_recording import FRAME_SIZE, RATE_HZ, CameraRecording, render_recording
from bench.stream_load import StreamStatistics, run_streams
from service.embedded.stack import isolate_settings, run_stack
from service.pipeline.estimators import read_default_manifest
from service.settings import YARDSTICK, Settings

OUT: Final = Path("out") / "live.json"
STREAM_COUNTS: Final = (1, 2, 4, 8)
RUN_SECONDS: Final = 20.0
RECORDING_SECONDS: Final = 8.0
WARM_UP_SECONDS: Final = 4.0


def main() -> None:
    """Measure, print and write out/live.json."""
    arguments = _parse_arguments()
    console = Console()
    OUT.parent.mkdir(exist_ok=True)
    console.print(
        f"Drawing {RECORDING_SECONDS:.0f} s of {FRAME_SIZE[0]}x{FRAME_SIZE[1]} JPEG and audio ..."
    )
    recording = render_recording(RECORDING_SECONDS)
    settings = (
        Settings()
        .serving_only(YARDSTICK)
        .model_copy(
            update={
                "max_streams": max(arguments.streams),
                "stream_admission_latency_seconds": 3600.0,
            }
        )
    )
    with (
        TemporaryDirectory() as folder,
        run_stack(isolate_settings(settings, Path(folder))) as stack,
    ):
        address = f"{stack.settings.host}:{stack.settings.grpc_port}"
        console.print("Warming up ...")
        asyncio.run(run_streams(address, recording, streams=1, seconds=WARM_UP_SECONDS))
        statistics: dict[int, StreamStatistics] = {}
        for streams in arguments.streams:
            console.print(f"Measuring {streams} stream(s) for {arguments.seconds:.0f} s ...")
            statistics[streams] = asyncio.run(
                run_streams(address, recording, streams=streams, seconds=arguments.seconds)
            )
    report = _build_report(statistics, settings, recording)
    OUT.write_text(json.dumps(report, indent=2) + "\n")
    _show_table(statistics, console)
    console.print(f"Written: {OUT}")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.live", description=__doc__)
    parser.add_argument(
        "--streams", type=int, nargs="+", default=list(STREAM_COUNTS), help="numbers of streams"
    )
    parser.add_argument("--seconds", type=float, default=RUN_SECONDS, help="length of each run")
    return parser.parse_args()


def _build_report(
    statistics: dict[int, StreamStatistics], settings: Settings, recording: CameraRecording
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
        "streams": {streams: asdict(each) for streams, each in statistics.items()},
    }


def _show_table(statistics: dict[int, StreamStatistics], console: Console) -> None:
    columns: Sequence[str] = ("fps_sent", "fps_answered", "p50_ms", "p95_ms", "p99_ms", "dropped")
    table = Table("streams", *columns)
    for streams, each in statistics.items():
        numbers = asdict(each)
        table.add_row(str(streams), *(f"{numbers[name]:.4g}" for name in columns))
    console.print(table)


if __name__ == "__main__":
    main()
