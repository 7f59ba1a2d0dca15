"""Checks of decoded values from a decode process that their types cannot express.

Decoding has checked the types already. Each function raises ValueError for a value that a decode
process sends only if it is compromised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from service.domain.array_types import Float32Array, Int64Array, UInt8Array
from service.domain.audio_grid import HOP_SAMPLES, PATCH_SAMPLES
from service.domain.clip import MAX_FACES, FaceBox, Frame
from service.domain.model_signatures import CROP_SIDE

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)

MAX_SAMPLES_PER_FRAME: Final = -(-PATCH_SAMPLES // HOP_SAMPLES) * HOP_SAMPLES
"""Samples of one patch, rounded up to whole hops."""
MAX_TEXT_CHARS: Final = 500
"""Length to which texts of a decode process are shortened."""
_MAX_COUNT: Final = 2**53


def check_count(value: int) -> None:
    """Check that an integer is a count or an ordinal."""
    if not 0 <= value < _MAX_COUNT:
        raise ValueError("not a count")


def check_finite(*values: float) -> None:
    """Check that numbers are finite."""
    if not all(map(math.isfinite, values)):
        raise ValueError("not a number")


def check_durations(seconds: Sequence[float]) -> None:
    """Check that times are finite and not negative."""
    check_finite(*seconds)
    if min(seconds, default=0.0) < 0:
        raise ValueError("not a duration")


def check_record(record: Record) -> Record:
    """Check a flat dataclass of counts, numbers, texts and booleans.

    Returns: the record with its texts shortened to 500 characters.
    """
    shortened: dict[str, str] = {}
    for each in fields(record):
        value: object = getattr(record, each.name)
        if isinstance(value, str):
            shortened[each.name] = value[:MAX_TEXT_CHARS]
        elif isinstance(value, int):
            check_count(value)
        elif isinstance(value, float):
            check_finite(value)
    return replace(record, **shortened)


def check_frames(frames: Sequence[Frame], *, max_frames: int) -> None:
    """Check frames of one message: numbered without a gap, each track once in a frame."""
    if not 0 < len(frames) <= max_frames:
        raise ValueError(f"{len(frames)} frames")
    check_count(frames[0].index)
    for ordinal, frame in enumerate(frames, frames[0].index):
        if frame.index != ordinal:
            raise ValueError("a gap between frames")
        check_finite(frame.time_seconds)
        if len(frame.faces) > MAX_FACES:
            raise ValueError("too many faces in one frame")
        if len({face.track for face in frame.faces}) < len(frame.faces):
            raise ValueError("a track has two faces in one frame")
        for face in frame.faces:
            check_count(face.track)
            _check_box(face.box)


def _check_box(box: FaceBox) -> None:
    check_finite(box.left, box.top, box.width, box.height, box.score)


def check_crops(crops: UInt8Array, frames: Sequence[Frame]) -> None:
    """Check that there is one (3, 112, 112) crop for each face."""
    faces = sum(len(frame.faces) for frame in frames)
    if crops.shape != (faces, 3, CROP_SIDE, CROP_SIDE):
        raise ValueError("faces and crops disagree")


def check_audio(waveform: Float32Array, patch_starts: Int64Array, *, max_frames: int) -> None:
    """Check samples, (S,) in [-1, 1], and the patches in them, (T,) hops with T >= 1."""
    if waveform.ndim != 1 or len(waveform) > max_frames * MAX_SAMPLES_PER_FRAME:
        raise ValueError(f"a waveform of shape {waveform.shape}")
    if patch_starts.ndim != 1 or not 0 < len(patch_starts) <= max_frames:
        raise ValueError(f"patch starts of shape {patch_starts.shape}")
    last = (len(waveform) - PATCH_SAMPLES) // HOP_SAMPLES
    if int(patch_starts.min()) < 0 or int(patch_starts.max()) > last:
        raise ValueError("a patch outside the waveform")
    if not np.isfinite(waveform).all() or np.abs(waveform).max() > 1.0:
        raise ValueError("audio outside [-1, 1]")


def check_stages(stage_seconds: Mapping[str, float], stages: Sequence[str]) -> dict[str, float]:
    """Select the busy seconds of these stages; each must be there."""
    if not all(stage in stage_seconds for stage in stages):
        raise ValueError("a stage is missing")
    selected = {stage: stage_seconds[stage] for stage in stages}
    check_durations(tuple(selected.values()))
    return selected
