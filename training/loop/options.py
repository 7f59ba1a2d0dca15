"""Options of a training run, stored in its config.json."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from service.domain.model_signatures import FOLDS
from training.data.augmentation import Augmentation
from training.data.samples import WindowGrid
from training.networks.encoder import EncoderConfig
from training.networks.iresnet import IResNetConfig
from training.networks.tcn import TcnConfig
from training.presets import Preset


class Ablation(StrEnum):
    """A component that is removed, to measure its contribution."""

    NO_LA_SE = "no_la_se"
    NO_TCN = "no_tcn"
    NO_TRANSFORMER = "no_transformer"
    FACE_ONLY = "face_only"
    VOICE_ONLY = "voice_only"


class Decay(StrEnum):
    """Decay of the learning rate after the warm-up."""

    PLATEAU = "plateau"
    """In steps, when the validation CCC stops improving [L]."""
    COSINE = "cosine"
    """Half a cosine over all epochs, without early stopping [I]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSchedule:
    """Epochs, batch size and learning rate of one part."""

    epochs: int
    learning_rate: float
    batch_windows: int = 12
    """Windows per batch and process [L]."""
    weight_decay: float = 1e-3
    decay: Decay = Decay.PLATEAU
    warm_up_epochs: int = 5
    plateau_epochs: int = 5
    """Epochs without improvement of the validation CCC before the rate is reduced [L]."""
    plateau_factor: float = 0.1
    stop_epochs: int = 12
    """Epochs without improvement before training ends: two reductions of the rate [I]."""
    gradient_norm: float = 1.0
    """Maximum gradient norm: the CCC loss of a nearly constant batch is steep [I]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """Options of a run besides the preset and the data."""

    seed: int = 0
    deal_seed: int = 0
    """Seed of the fold assignment; runs with the same assignment can be compared."""
    folds: tuple[int, ...] = tuple(range(FOLDS))
    ablation: Ablation | None = None
    grid: WindowGrid = field(default_factory=WindowGrid)
    rate_hz: float = 30.0
    """Frames per second of a recording without a video file."""
    calibration_share: float = 0.1
    """Share of the training set's subjects reserved to calibrate the spread [I]."""
    backbone: TrainingSchedule = field(
        default_factory=lambda: TrainingSchedule(epochs=40, learning_rate=1e-3)
    )
    fold: TrainingSchedule = field(
        default_factory=lambda: TrainingSchedule(epochs=60, learning_rate=1e-3)
    )
    fine_tuning_rate: float = 1e-4
    """Learning rate of a pre-trained backbone [I]."""
    unfreeze_epochs: int = 5
    """Epochs after which a pre-trained backbone unfreezes its next stage, from the last [L]."""
    frames_per_window: int = 8
    """Frames per window that train a backbone in one epoch [I]."""
    validation_stride: int = 30
    """A backbone is validated on every n-th frame [I]."""
    augmentation: Augmentation = field(default_factory=Augmentation)


def apply_ablation(preset: Preset, ablation: Ablation | None) -> Preset:
    """Remove a component from the preset; an ablated modality is removed from the features only."""
    fusion = preset.fusion
    match ablation:
        case Ablation.NO_LA_SE:
            if not isinstance(preset.visual, IResNetConfig):
                return preset
            return replace(preset, visual=replace(preset.visual, attention=False))
        case Ablation.NO_TCN:
            frame_wise_configs = (
                _remove_temporal_context(fusion.visual),
                _remove_temporal_context(fusion.audio),
            )
            return replace(
                preset,
                fusion=replace(fusion, visual=frame_wise_configs[0], audio=frame_wise_configs[1]),
            )
        case Ablation.NO_TRANSFORMER:
            return replace(
                preset, fusion=replace(fusion, encoder=_remove_encoder_layers(fusion.encoder))
            )
        case _:
            return preset


def _remove_temporal_context(tcn: TcnConfig) -> TcnConfig:
    """Set kernels of one frame: the same depth and widths, without temporal context."""
    return replace(tcn, kernel=1)


def _remove_encoder_layers(encoder: EncoderConfig) -> EncoderConfig:
    """Remove all layers: one linear map from the concatenated modalities to the heads."""
    return replace(encoder, layers=0)
