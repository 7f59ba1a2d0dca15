"""`make bench`: every ceiling and the whole service in one run, as frames a second and one ratio."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.ceilings import (
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
    steps: dict[str, Callable[[], float]] = {
        "decode": lambda: measure_decode(clip, settings),
        "face": lambda: measure_face(clip, settings),
        "visual_backbone": lambda: measure_visual_backbone(settings),
        "audio_backbone": lambda: measure_audio_backbone(settings),
        "fusion": lambda: measure_fusion(settings),
    }
    ceilings: dict[str, float] = {}
    for name, measure in steps.items():
        console.print(f"Measuring {name} alone ...")
        ceilings[name] = measure()
    console.print(f"Measuring the whole service, {COPIES} clips together ...")
    end_to_end = measure_end_to_end(clip, settings, copies=COPIES)
    report = {
        "preset": read_provenance(settings)["preset"],
        "cores": os.cpu_count(),
        "clip": {"width": CLIP_WIDTH, "height": CLIP_HEIGHT, "seconds": CLIP_SECONDS},
        "ceilings": ceilings,
        "end_to_end": end_to_end,
        "ratio": end_to_end / min(ceilings.values()),
        "ratio_shared_cores": end_to_end * sum(1 / rate for rate in ceilings.values()),
    }
    (OUT / "bench.json").write_text(json.dumps(report, indent=2) + "\n")
    _show(report, console)


def _show(report: dict[str, object], console: Console) -> None:
    ceilings, end_to_end = report["ceilings"], report["end_to_end"]
    assert isinstance(ceilings, dict)
    assert isinstance(end_to_end, float)
    table = Table("frames/s", "alone", "end to end / alone")
    for name, rate in ceilings.items():
        table.add_row(name, f"{rate:.0f}", f"{end_to_end / rate:.2f}")
    table.add_row("end to end", f"{end_to_end:.0f}", "")
    console.print(table)
    console.print(f"ratio to the lowest ceiling: {report['ratio']:.2f}")
    console.print(
        f"ratio to all stages one after the other on the same cores: "
        f"{report['ratio_shared_cores']:.2f}"
    )
    console.print(f"Written: {OUT / 'bench.json'}")


if __name__ == "__main__":
    main()
