"""The contract between who exports the models, who hosts them and who calls them.

Shapes leave out nothing: -1 is a length that varies, and a batched model's
first axis is its batch. Both presets keep these shapes. `mask` is true where a
frame counts and false where it is padding; what a masked frame holds has no
influence on the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

DataType = Literal["UINT8", "FP32", "INT64", "BOOL"]

CROP_SIDE: Final = 112
FACE_FEATURES: Final = 512
VOICE_FEATURES: Final = 128
TARGETS: Final = ("valence", "arousal")
FOLDS: Final = 6
MAX_LIVE_CROPS: Final = 8
"""The crops of a request that is a stream's, and goes to LIVE_VISUAL_BACKBONE: behind six chunks
of clips at VISUAL_BACKBONE a crop waited for a second, beside them for 40 ms (two cores)."""
LIVE_WINDOW_FRAMES: Final = 32
"""What a live estimate sees: the last frames of its stream; a younger one is padded in front,
masked. Of drawn strangers at 24 and 30 frames a second the newest frame's estimate agrees with
the truth by a CCC of 0.785 (valence) and 0.807 (arousal); 64 frames, at twice the cost, give
0.787 and 0.817, 150 frames 0.789 and 0.821."""


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
"""The parts of one whole, as the ensemble wires them together."""
EXPORTED_MODELS: Final = (*ENSEMBLE_MODELS, LIVE_VISUAL_BACKBONE, LIVE_FUSION)
"""The models that are exported."""
SERVED_MODELS: Final = (*EXPORTED_MODELS, VALENCE_AROUSAL)
