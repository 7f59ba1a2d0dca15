"""Stage speeds: each stage of the pipeline alone on this machine, in frames a second.

Each measurement runs the production code of one stage over the same clip.
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

from service.domain.model_signatures import (
    AUDIO_BACKBONE,
    FACE_FEATURES,
    FUSION,
    VISUAL_BACKBONE,
    VOICE_FEATURES,
    ModelSignature,
)
from service.estimators.repository import EstimatorRepository
from service.faces.alignment import align_crop
from service.faces.finder import open_face_finder
from service.media.demux import open_container
from service.media.media_info import ClipLimits
from service.media.stream_selection import select_video_stream
from service.media.video import Picture, VideoReader
from service.pipeline.estimators import read_default_manifest
from service.settings import Settings
from training.export import load_model

MEASUREMENT_SECONDS: Final = 5.0
BATCH_SIZE: Final = 32
FACE_STAGE_FRAMES: Final = 100
MIN_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpeed:
    """Speed of a stage alone, and its CPU time per frame over all cores."""

    frames_per_second: float
    cpu_seconds_per_frame: float


def measure_decode(clip: Path, settings: Settings) -> StageSpeed:
    """Measure decoding, with the configured decoder threads."""
    return _measure_speed(lambda: sum(1 for _ in _decode_clip(clip, settings)))


def measure_face(clip: Path, settings: Settings) -> StageSpeed:
    """Measure detection and alignment of faces in decoded frames, in one thread."""
    finder = open_face_finder(
        settings.face_models_dir,
        settings.yunet_file,
        max_faces=settings.max_faces,
        min_pixels=settings.min_face_pixels,
    )
    pictures = [
        picture.planes for picture in islice(_decode_clip(clip, settings), FACE_STAGE_FRAMES)
    ]

    def find_all() -> int:
        for picture in pictures:
            for face in finder.find(picture):
                align_crop(picture, face.landmarks)
        return len(pictures)

    return _measure_speed(find_all)


def measure_visual_backbone(settings: Settings) -> StageSpeed:
    """Measure TorchScript on batches of crops, with every core."""
    crops = torch.randint(0, 256, (BATCH_SIZE, 3, 112, 112), dtype=torch.uint8)
    return _measure_model_speed(VISUAL_BACKBONE, settings, (crops,), BATCH_SIZE)


def measure_audio_backbone(settings: Settings) -> StageSpeed:
    """Measure TorchScript on batches of patches, with every core."""
    return _measure_model_speed(
        AUDIO_BACKBONE, settings, (torch.randn(BATCH_SIZE, 96, 64),), BATCH_SIZE
    )


def measure_fusion(settings: Settings) -> StageSpeed:
    """Measure TorchScript on windows; each counts as `hop_frames` frames."""
    frames = settings.window_frames
    inputs = (
        torch.randn(frames, FACE_FEATURES),
        torch.randn(frames, VOICE_FEATURES),
        torch.ones(frames, dtype=torch.bool),
    )
    return _measure_model_speed(FUSION, settings, inputs, settings.hop_frames)


def decode_frames(clip: Path, settings: Settings, *, threads: int) -> Iterator[Picture]:
    """Decode a clip with the given number of decoder threads."""
    limits = ClipLimits(
        max_seconds=settings.max_clip_seconds,
        max_frames=settings.max_clip_frames,
        max_pixels=settings.max_frame_pixels,
    )
    with open_container(clip) as container:
        stream = select_video_stream(container, clip)
        yield from VideoReader(container, stream, limits=limits, threads=threads).read()


def _decode_clip(clip: Path, settings: Settings) -> Iterator[Picture]:
    return decode_frames(clip, settings, threads=settings.decode_threads)


def _measure_model_speed(
    model: ModelSignature, settings: Settings, inputs: tuple[torch.Tensor, ...], frames: int
) -> StageSpeed:
    repository = EstimatorRepository(settings.model_repository)
    file = repository.model_file(read_default_manifest(settings).id, model.name)
    scripted = load_model(file)

    def call() -> int:
        with torch.inference_mode():
            scripted(*inputs)
        return frames

    return _measure_speed(call)


def _measure_speed(run_stage: Callable[[], int]) -> StageSpeed:
    """Measure the median speed of a function that returns its number of frames."""
    run_stage()
    rates: list[float] = []
    cpu_seconds: list[float] = []
    end = time.perf_counter() + MEASUREMENT_SECONDS
    while time.perf_counter() < end or len(rates) < MIN_ROUNDS:
        wall, cpu = time.perf_counter(), time.process_time()
        frames = run_stage()
        rates.append(frames / (time.perf_counter() - wall))
        cpu_seconds.append((time.process_time() - cpu) / frames)
    return StageSpeed(
        frames_per_second=float(np.median(rates)),
        cpu_seconds_per_frame=float(np.median(cpu_seconds)),
    )
