"""What each part of the pipeline could do alone on this machine, in frames a second.

Each ceiling runs the production code of its stage with nothing beside it, over the same clip.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch

from service.domain.signatures import (
    AUDIO_BACKBONE,
    FACE_FEATURES,
    FUSION,
    VISUAL_BACKBONE,
    VOICE_FEATURES,
    ModelSignature,
)
from service.features.alignment import align_crop
from service.features.finder import open_finder
from service.media.demux import ClipLimits, open_container
from service.media.streams import choose_video
from service.media.video import Picture, VideoReader
from service.settings import Settings

SECONDS_EACH: Final = 5.0
BATCH: Final = 32
PICTURES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a stage is alone, and what a frame costs it over all cores."""

    frames_per_second: float
    cpu_seconds_per_frame: float


def measure_decode(clip: Path, settings: Settings) -> Speed:
    """Decode to RGB and throw away, with the decoder's threads."""
    return _speed(lambda: sum(1 for _ in _pictures(clip, settings)))


def measure_face(clip: Path, settings: Settings) -> Speed:
    """Find, follow and cut out the face in pictures that are already decoded; one thread."""
    finder = open_finder(
        settings.face_models_dir,
        settings.yunet_file,
        max_faces=settings.max_faces,
        min_pixels=settings.min_face_pixels,
    )
    pictures = [picture.pixels for picture in islice(_pictures(clip, settings), PICTURES)]

    def find_all() -> int:
        for pixels in pictures:
            for face in finder.find(pixels):
                align_crop(pixels, face.points)
        return len(pictures)

    return _speed(find_all)


def measure_visual_backbone(settings: Settings) -> Speed:
    """TorchScript called directly on batches of crops, with every core."""
    crops = torch.randint(0, 256, (BATCH, 3, 112, 112), dtype=torch.uint8)
    return _model_speed(VISUAL_BACKBONE, settings, (crops,), BATCH)


def measure_audio_backbone(settings: Settings) -> Speed:
    """TorchScript called directly on batches of patches, with every core."""
    return _model_speed(AUDIO_BACKBONE, settings, (torch.randn(BATCH, 96, 64),), BATCH)


def measure_fusion(settings: Settings) -> Speed:
    """TorchScript called directly on whole windows; each brings `hop_frames` new frames."""
    frames = settings.window_frames
    inputs = (
        torch.randn(frames, FACE_FEATURES),
        torch.randn(frames, VOICE_FEATURES),
        torch.ones(frames, dtype=torch.bool),
    )
    return _model_speed(FUSION, settings, inputs, settings.hop_frames)


def read_pictures(clip: Path, settings: Settings, *, threads: int) -> Iterator[Picture]:
    """Decode a clip with so many decoder threads."""
    limits = ClipLimits(
        max_seconds=settings.max_clip_seconds,
        max_frames=settings.max_clip_frames,
        max_pixels=settings.max_frame_pixels,
    )
    with open_container(clip) as container:
        stream = choose_video(container, clip)
        yield from VideoReader(container, stream, limits=limits, threads=threads).read()


def _pictures(clip: Path, settings: Settings) -> Iterator[Picture]:
    return read_pictures(clip, settings, threads=settings.decode_threads)


def _model_speed(
    model: ModelSignature, settings: Settings, inputs: tuple[torch.Tensor, ...], frames: int
) -> Speed:
    file = settings.model_repository / model.name / "1" / "model.pt"
    scripted = torch.jit.load(file).eval()

    def call() -> int:
        with torch.inference_mode():
            scripted(*inputs)
        return frames

    return _speed(call)


def _speed(work: Callable[[], int]) -> Speed:
    """Median speed of `work`, which returns how many frames it did; one call to warm up."""
    work()
    rates: list[float] = []
    cpu_seconds: list[float] = []
    end = time.perf_counter() + SECONDS_EACH
    while time.perf_counter() < end or len(rates) < 3:
        wall, cpu = time.perf_counter(), time.process_time()
        frames = work()
        rates.append(frames / (time.perf_counter() - wall))
        cpu_seconds.append((time.process_time() - cpu) / frames)
    return Speed(
        frames_per_second=float(np.median(rates)),
        cpu_seconds_per_frame=float(np.median(cpu_seconds)),
    )
