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

from bench.ceilings import read_pictures
from service.domain.arrays import Bytes
from service.extraction.chain import PICTURES_AHEAD
from service.features.alignment import align_crop
from service.features.finder import open_finder
from service.features.sighting import FaceFinder
from service.media.stages import work_ahead
from service.media.video import Picture
from service.settings import Settings
from training.synthetic.camera import Camera
from training.synthetic.clip import demo_performance, film
from training.synthetic.studio import Studio

BITS_PER_SECOND: Final = 5_000_000
"""Of a phone or a good webcam. A drawing alone needs a tenth, and decodes four times as fast."""
PICTURES: Final = 75
ROUNDS: Final = 5
MAX_FACE_TO_DECODE: Final = 1.5
_RATE_HZ: Final = 25
_GRAIN_LEVELS: Final = 3.0
_GRAIN_PLATES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds a frame: of one core, and of the clock."""

    cpu: float
    wall: float


def draw_front_clip(path: Path, *, height: int = 720, width: int = 1280) -> None:
    """Write a clip of a drawn actor with a sensor's grain, in H.264 at a camera's bit rate."""
    performance = demo_performance(seconds=PICTURES / _RATE_HZ)
    studio = Studio(performance, Camera.of_seed(performance.seed), height=height, width=width)
    random = np.random.default_rng(0)
    plates = random.normal(0, _GRAIN_LEVELS, (_GRAIN_PLATES, height, width, 1)).astype(np.float32)
    pictures = film(performance, studio, np.arange(PICTURES) / _RATE_HZ)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE_HZ, options={"preset": "medium"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = BITS_PER_SECOND
        for number, picture in enumerate(pictures):
            grainy = np.clip(picture + plates[number % _GRAIN_PLATES], 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(grainy, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def measure_front(clip: Path, settings: Settings) -> dict[str, Any]:
    """Decode alone, faces alone, both in one thread, and both as the two stages that serve."""
    decoded = [picture.pixels for picture in islice(_decode(clip, settings), PICTURES)]
    finder = open_finder(
        settings.face_models_dir,
        settings.yunet_file,
        max_faces=settings.max_faces,
        min_pixels=settings.min_face_pixels,
    )
    works: dict[str, Callable[[], int]] = {
        "decode": lambda: sum(1 for _ in _decode(clip, settings)),
        "face": lambda: _cut(decoded, finder),
        "one_thread": lambda: _cut(_pixels(_decode(clip, settings)), finder),
        "two_stages": lambda: _cut_ahead(_decode(clip, settings), finder),
    }
    _cut(decoded, finder)  # the networks' first calls are slow
    rounds = [{name: _cost(work) for name, work in works.items()} for _ in range(ROUNDS)]
    return sum_up(rounds)


def sum_up(rounds: Iterable[Mapping[str, Cost]]) -> dict[str, Any]:
    """The medians over rounds of what each round's costs come to.

    face_to_decode: a frame's face work by its decoding, on one core. frames_per_core_second:
    what one core does of each alone. two_stages_speedup: by the clock, against one thread.
    two_stages_overhead: more work of all cores than in one thread.
    """
    taken = list(rounds)

    def middle(figure: Callable[[Mapping[str, Cost]], float]) -> float:
        return median(figure(each) for each in taken)

    return {
        "megabits_per_second": BITS_PER_SECOND / 1e6,
        "face_to_decode": middle(lambda each: each["face"].cpu / each["decode"].cpu),
        "two_stages_speedup": middle(
            lambda each: each["one_thread"].wall / each["two_stages"].wall
        ),
        "two_stages_overhead": middle(
            lambda each: each["two_stages"].cpu / each["one_thread"].cpu - 1
        ),
        "frames_per_core_second": {
            name: middle(lambda each, name=name: 1 / each[name].cpu) for name in taken[0]
        },
    }


def show_front(front: Mapping[str, Any], console: Console) -> None:
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


def _decode(clip: Path, settings: Settings) -> Iterator[Picture]:
    return read_pictures(clip, settings, threads=1)


def _pixels(pictures: Iterable[Picture]) -> Iterator[Bytes]:
    return (picture.pixels for picture in pictures)


def _cut(pictures: Iterable[Bytes], finder: FaceFinder) -> int:
    count = 0
    for pixels in pictures:
        for face in finder.find(pixels):
            align_crop(pixels, face.points)
        count += 1
    return count


def _cut_ahead(decoding: Iterator[Picture], finder: FaceFinder) -> int:
    with closing(work_ahead(decoding, PICTURES_AHEAD)) as pictures:
        return _cut(_pixels(pictures), finder)


def _cost(work: Callable[[], int]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    frames = work()
    return Cost(
        cpu=(time.process_time() - cpu) / frames, wall=(time.perf_counter() - wall) / frames
    )
