"""Command `make bench`: speeds of every stage and of the whole service, in frames a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console

from bench.end_to_end import measure_end_to_end
from bench.front_end import CLIP_FRAMES, measure_front_end, render_front_end_clip, show_front_end
from bench.report import build_report, show_report
from bench.stage_speeds import (
    StageSpeed,
    measure_audio_backbone,
    measure_decode,
    measure_face,
    measure_fusion,
    measure_visual_backbone,
)
from service.pipeline.estimators import read_default_manifest
from service.settings import YARDSTICK, Settings
from training.synthetic.clip import render_demo_clip

OUT: Final = Path("out")
CLIP_SECONDS: Final = 20.0
CLIP_HEIGHT, CLIP_WIDTH = 720, 1280
COPIES: Final = 4


def main() -> None:
    """Measure, print and write out/bench.json."""
    settings, console = Settings().serving_only(YARDSTICK), Console()
    OUT.mkdir(exist_ok=True)
    clip = OUT / "bench.mp4"
    console.print(f"Drawing {CLIP_SECONDS:.0f} s of {CLIP_WIDTH}x{CLIP_HEIGHT} video: {clip} ...")
    render_demo_clip(clip, seconds=CLIP_SECONDS, height=CLIP_HEIGHT, width=CLIP_WIDTH)
    speeds: dict[str, StageSpeed] = {}
    for name, measure in _list_stages(clip, settings).items():
        console.print(f"Measuring {name} alone ...")
        speeds[name] = measure()
    front_clip = OUT / "bench-front.mp4"
    console.print(f"Measuring decoding and face work, on {CLIP_FRAMES} frames: {front_clip} ...")
    render_front_end_clip(front_clip, height=CLIP_HEIGHT, width=CLIP_WIDTH)
    front = measure_front_end(front_clip, settings)
    console.print(f"Measuring the whole service, {COPIES} clips together ...")
    end_to_end = measure_end_to_end(clip, settings, copies=COPIES)
    metadata = {
        "model": str(read_default_manifest(settings).id),
        "clip": {"width": CLIP_WIDTH, "height": CLIP_HEIGHT, "seconds": CLIP_SECONDS},
    }
    report = build_report(speeds, end_to_end, metadata) | {"front": front}
    (OUT / "bench.json").write_text(json.dumps(report, indent=2) + "\n")
    show_report(report, console)
    show_front_end(front, console)
    console.print(f"Written: {OUT / 'bench.json'}")


def _list_stages(clip: Path, settings: Settings) -> dict[str, Callable[[], StageSpeed]]:
    return {
        "decode": lambda: measure_decode(clip, settings),
        "face": lambda: measure_face(clip, settings),
        "visual_backbone": lambda: measure_visual_backbone(settings),
        "audio_backbone": lambda: measure_audio_backbone(settings),
        "fusion": lambda: measure_fusion(settings),
    }


if __name__ == "__main__":
    main()
