"""`make bench`: every ceiling and the whole service in one run, as frames a second."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.ceilings import (
    Speed,
    measure_audio_backbone,
    measure_decode,
    measure_face,
    measure_fusion,
    measure_visual_backbone,
)
from bench.end_to_end import measure_end_to_end
from service.provenance import read_provenance
from service.settings import Settings
from training.synthetic.clip import render_demo_clip

OUT: Final = Path("out")
CLIP_SECONDS: Final = 20.0
CLIP_HEIGHT, CLIP_WIDTH = 720, 1280
COPIES: Final = 4


def main() -> None:
    """Measure, print and write out/bench.json."""
    settings, console = Settings(), Console()
    OUT.mkdir(exist_ok=True)
    clip = OUT / "bench.mp4"
    console.print(f"Drawing {CLIP_SECONDS:.0f} s of {CLIP_WIDTH}x{CLIP_HEIGHT} video: {clip} ...")
    render_demo_clip(clip, seconds=CLIP_SECONDS, height=CLIP_HEIGHT, width=CLIP_WIDTH)
    steps: dict[str, Callable[[], Speed]] = {
        "decode": lambda: measure_decode(clip, settings),
        "face": lambda: measure_face(clip, settings),
        "visual_backbone": lambda: measure_visual_backbone(settings),
        "audio_backbone": lambda: measure_audio_backbone(settings),
        "fusion": lambda: measure_fusion(settings),
    }
    speeds: dict[str, Speed] = {}
    for name, measure in steps.items():
        console.print(f"Measuring {name} alone ...")
        speeds[name] = measure()
    console.print(f"Measuring the whole service, {COPIES} clips together ...")
    end_to_end = measure_end_to_end(clip, settings, copies=COPIES)
    ceilings = {name: speed.frames_per_second for name, speed in speeds.items()}
    cores = len(os.sched_getaffinity(0))
    shared = cores / sum(speed.cpu_seconds_per_frame for speed in speeds.values())
    report = {
        "preset": read_provenance(settings)["preset"],
        "cores": cores,
        "clip": {"width": CLIP_WIDTH, "height": CLIP_HEIGHT, "seconds": CLIP_SECONDS},
        "ceilings": ceilings,
        "end_to_end": end_to_end,
        "ratio": end_to_end / min(ceilings.values()),
        "shared_ceiling": shared,
        "shared_ratio": end_to_end / shared,
    }
    (OUT / "bench.json").write_text(json.dumps(report, indent=2) + "\n")
    _show(report, console)


def _show(report: Mapping[str, Any], console: Console) -> None:
    ceilings, end_to_end = report["ceilings"], report["end_to_end"]
    table = Table("frames/s", "alone", "end to end / alone")
    for name, rate in ceilings.items():
        table.add_row(name, f"{rate:.0f}", f"{end_to_end / rate:.2f}")
    table.add_row("end to end", f"{end_to_end:.0f}", "")
    console.print(table)
    console.print(f"{report['ratio']:.2f} of the lowest ceiling, which has the machine to itself")
    console.print(
        f"{report['shared_ratio']:.2f} of {report['shared_ceiling']:.0f} frames/s, "
        "what the cores could do if they did these stages and nothing else"
    )
    console.print(f"Written: {OUT / 'bench.json'}")


if __name__ == "__main__":
    main()
