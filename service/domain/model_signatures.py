"""Signatures of the served models: the contract of export, model repository and client.

Shapes are complete: -1 is a variable length, and the first axis of a batched model is its batch.
Both presets have these shapes. `mask` is true for real frames and false for padding; the values of
a masked frame do not influence the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

DataType = Literal["UINT8", "FP32", "INT64", "BOOL"]

CROP_SIDE: Final = 112
"""Pixels of a side of a face crop."""
CROP_BYTES: Final = 3 * CROP_SIDE * CROP_SIDE
"""Bytes of one face crop, uint8 RGB."""
PATCH_BYTES: Final = 4 * 96 * 64
"""Bytes of one log-mel patch, float32."""
FACE_FEATURES: Final = 512
VOICE_FEATURES: Final = 128
"""Sizes of the embeddings of a face and of a patch of audio."""
TARGETS: Final = ("valence", "arousal")
FOLDS: Final = 6
MAX_LIVE_CROPS: Final = 8
"""Crops of one request to LIVE_VISUAL_BACKBONE, which streams use: queued behind six chunks of
clips at VISUAL_BACKBONE a crop waited for a second, beside them 40 ms (two cores)."""
LIVE_WINDOW_FRAMES: Final = 32
"""Frames of context of a live estimate: the last ones of its stream, padded and masked in front.
On synthetic unseen actors at 24 and 30 frames a second the newest frame's estimate has a CCC of
0.785 (valence) and 0.807 (arousal); 64 frames, at twice the cost, give 0.787 and 0.817, 150 frames
0.789 and 0.821."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One input or output: its name on the wire, element type and whole shape."""

    name: str
    data_type: DataType
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSignature:
    """One served model. `max_batch_size` 0: the first axis is time, not a batch."""

    name: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


VISUAL_BACKBONE: Final = ModelSignature(
    name="visual_backbone",
    max_batch_size=512,
    inputs=(Tensor(name="INPUT__0", data_type="UINT8", shape=(-1, 3, CROP_SIDE, CROP_SIDE)),),
    outputs=(Tensor(name="OUTPUT__0", data_type="FP32", shape=(-1, FACE_FEATURES)),),
)
LOG_MEL: Final = ModelSignature(
    name="log_mel",
    max_batch_size=0,
    inputs=(
        Tensor(name="INPUT__0", data_type="FP32", shape=(-1,)),
        Tensor(name="INPUT__1", data_type="INT64", shape=(-1,)),
    ),
    outputs=(Tensor(name="OUTPUT__0", data_type="FP32", shape=(-1, 96, 64)),),
)
AUDIO_BACKBONE: Final = ModelSignature(
    name="audio_backbone",
    max_batch_size=512,
    inputs=(Tensor(name="INPUT__0", data_type="FP32", shape=(-1, 96, 64)),),
    outputs=(Tensor(name="OUTPUT__0", data_type="FP32", shape=(-1, VOICE_FEATURES)),),
)
FUSION: Final = ModelSignature(
    name="fusion",
    max_batch_size=0,
    inputs=(
        Tensor(name="INPUT__0", data_type="FP32", shape=(-1, FACE_FEATURES)),
        Tensor(name="INPUT__1", data_type="FP32", shape=(-1, VOICE_FEATURES)),
        Tensor(name="INPUT__2", data_type="BOOL", shape=(-1,)),
    ),
    outputs=(
        Tensor(name="OUTPUT__0", data_type="FP32", shape=(-1, len(TARGETS))),
        Tensor(name="OUTPUT__1", data_type="FP32", shape=(-1, len(TARGETS))),
    ),
)
LIVE_VISUAL_BACKBONE: Final = replace(
    VISUAL_BACKBONE, name="live_visual_backbone", max_batch_size=64
)
LIVE_FUSION: Final = ModelSignature(
    name="live_fusion",
    max_batch_size=64,
    inputs=(
        Tensor(name="INPUT__0", data_type="FP32", shape=(-1, LIVE_WINDOW_FRAMES, FACE_FEATURES)),
        Tensor(name="INPUT__1", data_type="FP32", shape=(-1, LIVE_WINDOW_FRAMES, VOICE_FEATURES)),
        Tensor(name="INPUT__2", data_type="BOOL", shape=(-1, LIVE_WINDOW_FRAMES)),
    ),
    outputs=(
        Tensor(name="OUTPUT__0", data_type="FP32", shape=(-1, LIVE_WINDOW_FRAMES, len(TARGETS))),
        Tensor(name="OUTPUT__1", data_type="FP32", shape=(-1, LIVE_WINDOW_FRAMES, len(TARGETS))),
    ),
)
VALENCE_AROUSAL: Final = ModelSignature(
    name="valence_arousal",
    max_batch_size=0,
    inputs=(
        Tensor(name="crops", data_type="UINT8", shape=(-1, 3, CROP_SIDE, CROP_SIDE)),
        Tensor(name="waveform", data_type="FP32", shape=(-1,)),
        Tensor(name="patch_starts", data_type="INT64", shape=(-1,)),
        Tensor(name="mask", data_type="BOOL", shape=(-1,)),
    ),
    outputs=(
        Tensor(name="mean", data_type="FP32", shape=(-1, len(TARGETS))),
        Tensor(name="spread", data_type="FP32", shape=(-1, len(TARGETS))),
    ),
)

ENSEMBLE_MODELS: Final = (VISUAL_BACKBONE, LOG_MEL, AUDIO_BACKBONE, FUSION)
"""The parts of the ensemble."""
EXPORTED_MODELS: Final = (*ENSEMBLE_MODELS, LIVE_VISUAL_BACKBONE, LIVE_FUSION)
"""The models that are exported as files."""
SERVED_MODELS: Final = (*EXPORTED_MODELS, VALENCE_AROUSAL)
