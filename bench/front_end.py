"""The front of the pipeline: what faces cost beside decoding, and what its two stages gain.

Everything is measured in turns within one run and told as ratios, so that a busy machine bears
on all of it alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final

import av
import numpy as np
from av.video.stream import VideoStream
from rich.console import Console
from rich.table import Table

from bench.stage_speeds import decode_frames
from service.decoding.worker.clip import PREFETCHED_PICTURES
from service.domain.array_types import UInt8Array
from service.faces.alignment import align_crop
from service.faces.detections import FaceFinder
from service.faces.finder import open_face_finder
from service.media.prefetch import prefetch
from service.media.video import Picture
from service.settings import Settings
from training.synthetic.camera import Camera
from training.synthetic.clip import create_demo_performance, render_frames
from training.synthetic.renderer import PerformanceRenderer

BITS_PER_SECOND: Final = 5_000_000
"""Of a phone or a good webcam. A drawing alone needs a tenth, and decodes four times as fast."""
CLIP_FRAMES: Final = 75
ROUNDS: Final = 5
MAX_FACE_TO_DECODE: Final = 1.5
_RATE_HZ: Final = 25
_GRAIN_LEVELS: Final = 3.0
_GRAIN_PATTERNS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCost:
    """Seconds a frame: of one core, and of the clock."""

    cpu_seconds: float
    wall_seconds: float


def render_front_end_clip(path: Path, *, height: int = 720, width: int = 1280) -> None:
    """Write a clip of a drawn actor with a sensor's grain, in H.264 at a camera's bit rate."""
    performance = create_demo_performance(seconds=CLIP_FRAMES / _RATE_HZ)
    studio = PerformanceRenderer(
        performance, Camera.from_seed(performance.seed), height=height, width=width
    )
    random = np.random.default_rng(0)
    grain_patterns = random.normal(0, _GRAIN_LEVELS, (_GRAIN_PATTERNS, height, width, 1)).astype(
        np.float32
    )
    pictures = render_frames(performance, studio, np.arange(CLIP_FRAMES) / _RATE_HZ)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE_HZ, options={"preset": "medium"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = BITS_PER_SECOND
        for number, picture in enumerate(pictures):
            grainy = np.clip(picture + grain_patterns[number % _GRAIN_PATTERNS], 0, 255).astype(
                np.uint8
            )
            frame = av.VideoFrame.from_ndarray(grainy, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def measure_front_end(clip: Path, settings: Settings) -> dict[str, Any]:
    """Decode alone, faces alone, both in one thread, and both as the two stages that serve."""
    decoded = [
        picture.pixels for picture in islice(_decode_single_threaded(clip, settings), CLIP_FRAMES)
    ]
    finder = open_face_finder(
        settings.face_models_dir,
        settings.yunet_file,
        max_faces=settings.max_faces,
        min_pixels=settings.min_face_pixels,
    )
    measured_stages: dict[str, Callable[[], int]] = {
        "decode": lambda: sum(1 for _ in _decode_single_threaded(clip, settings)),
        "face": lambda: _detect_and_align(decoded, finder),
        "one_thread": lambda: _detect_and_align(
            _extract_pixels(_decode_single_threaded(clip, settings)), finder
        ),
        "two_stages": lambda: _detect_and_align_prefetched(
            _decode_single_threaded(clip, settings), finder
        ),
    }
    _detect_and_align(decoded, finder)  # the networks' first calls are slow
    rounds = [
        {name: _measure_cost(work) for name, work in measured_stages.items()} for _ in range(ROUNDS)
    ]
    return summarize_rounds(rounds)


def summarize_rounds(rounds: Iterable[Mapping[str, FrameCost]]) -> dict[str, Any]:
    """The medians over rounds of what each round's costs come to.

    face_to_decode: a frame's face work by its decoding, on one core. frames_per_core_second:
    what one core does of each alone. two_stages_speedup: by the clock, against one thread.
    two_stages_overhead: more work of all cores than in one thread.
    """
    all_rounds = list(rounds)

    def median_of(figure: Callable[[Mapping[str, FrameCost]], float]) -> float:
        return median(figure(each) for each in all_rounds)

    return {
        "megabits_per_second": BITS_PER_SECOND / 1e6,
        "face_to_decode": median_of(
            lambda each: each["face"].cpu_seconds / each["decode"].cpu_seconds
        ),
        "two_stages_speedup": median_of(
            lambda each: each["one_thread"].wall_seconds / each["two_stages"].wall_seconds
        ),
        "two_stages_overhead": median_of(
            lambda each: each["two_stages"].cpu_seconds / each["one_thread"].cpu_seconds - 1
        ),
        "frames_per_core_second": {
            name: median_of(lambda each, name=name: 1 / each[name].cpu_seconds)
            for name in all_rounds[0]
        },
    }


def show_front_end(front: Mapping[str, Any], console: Console) -> None:
    """Print what was measured."""
    table = Table("the front", "frames a second of one core")
    for name, rate in front["frames_per_core_second"].items():
        table.add_row(name.replace("_", " "), f"{rate:.0f}")
    console.print(table)
    console.print(
        f"Face work is {front['face_to_decode']:.2f} of decoding (at most "
        f"{MAX_FACE_TO_DECODE}); two stages are {front['two_stages_speedup']:.2f} times as fast "
        f"as one thread and cost {front['two_stages_overhead']:+.0%}"
    )


def _decode_single_threaded(clip: Path, settings: Settings) -> Iterator[Picture]:
    return decode_frames(clip, settings, threads=1)


def _extract_pixels(pictures: Iterable[Picture]) -> Iterator[UInt8Array]:
    return (picture.pixels for picture in pictures)


def _detect_and_align(pictures: Iterable[UInt8Array], finder: FaceFinder) -> int:
    count = 0
    for pixels in pictures:
        for face in finder.find(pixels):
            align_crop(pixels, face.landmarks)
        count += 1
    return count


def _detect_and_align_prefetched(decoding: Iterator[Picture], finder: FaceFinder) -> int:
    with closing(prefetch(decoding, PREFETCHED_PICTURES)) as pictures:
        return _detect_and_align(_extract_pixels(pictures), finder)


def _measure_cost(run_stage: Callable[[], int]) -> FrameCost:
    wall, cpu = time.perf_counter(), time.process_time()
    frames = run_stage()
    return FrameCost(
        cpu_seconds=(time.process_time() - cpu) / frames,
        wall_seconds=(time.perf_counter() - wall) / frames,
    )
