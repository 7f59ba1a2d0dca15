"""Front end of the pipeline: cost of face work relative to decoding, and gain by two threads.

The stages are measured in turns within one run and reported as ratios, so that other load on the
machine affects all of them alike.
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
from rich.console import Console
from rich.table import Table

from bench.long_clip import add_video_stream, encode_video, mux_packets
from bench.sensor_grain import add_sensor_grain
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
"""Bit rate of a phone or a good webcam. A clip without grain needs a tenth of it, and decodes
four times as fast."""
CLIP_FRAMES: Final = 75
ROUNDS: Final = 5
MAX_FACE_TO_DECODE: Final = 1.5
_RATE_HZ: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCost:
    """Seconds per frame: of CPU time, and of wall-clock time."""

    cpu_seconds: float
    wall_seconds: float


def render_front_end_clip(path: Path, *, height: int = 720, width: int = 1280) -> None:
    """Write a clip of a synthetic actor with sensor grain, in H.264 at a camera's bit rate."""
    performance = create_demo_performance(seconds=CLIP_FRAMES / _RATE_HZ)
    renderer = PerformanceRenderer(
        performance, Camera.from_seed(performance.seed), height=height, width=width
    )
    pictures = render_frames(performance, renderer, np.arange(CLIP_FRAMES) / _RATE_HZ)
    with av.open(str(path), "w") as container:
        stream = add_video_stream(container, rate=_RATE_HZ, options={"preset": "medium"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = BITS_PER_SECOND
        for grainy in add_sensor_grain(pictures):
            frame = av.VideoFrame.from_ndarray(grainy, format="rgb24")
            mux_packets(container, encode_video(stream, frame))
        mux_packets(container, encode_video(stream, None))


def measure_front_end(clip: Path, settings: Settings) -> dict[str, Any]:
    """Measure decoding and face work alone, together in one thread, and in two threads."""
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
    """Compute medians over rounds of ratios within each round.

    face_to_decode: CPU time of face work relative to decoding. frames_per_core_second: speed of
    each stage on one core. two_stages_speedup: wall-clock gain over one thread.
    two_stages_overhead: additional CPU time relative to one thread.
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
    """Print a summary of rounds."""
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
