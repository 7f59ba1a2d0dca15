"""Every choice of a training, saved as config.json beside what it made."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from service.domain.model_signatures import FOLDS
from training.data.augmentation import Augmentation
from training.data.window_grid import WindowGrid
from training.networks.encoder import EncoderConfig
from training.networks.tcn import TcnConfig
from training.presets import Preset


class Ablation(StrEnum):
    """A part that is left out, to see what it is worth."""

    NO_LA_SE = "no_la_se"
    NO_TCN = "no_tcn"
    NO_TRANSFORMER = "no_transformer"
    FACE_ONLY = "face_only"
    VOICE_ONLY = "voice_only"


class Decay(StrEnum):
    """How the learning rate falls after the warm-up."""

    PLATEAU = "plateau"
    """By steps, whenever the validation CCC stays where it is [L]."""
    COSINE = "cosine"
    """Along half a cosine over all epochs, none of which is left out [I]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSchedule:
    """How long one part is trained, and how fast."""

    epochs: int
    learning_rate: float
    batch_windows: int = 12
    """Windows of a batch, for each process [L]."""
    weight_decay: float = 1e-3
    decay: Decay = Decay.PLATEAU
    warm_up_epochs: int = 5
    plateau_epochs: int = 5
    """Epochs without a better validation CCC before the rate falls [L]."""
    plateau_factor: float = 0.1
    stop_epochs: int = 12
    """Epochs without a better one before training ends: two falls of the rate [I]."""
    gradient_norm: float = 1.0
    """Longer gradients are shortened to this: CCC of a nearly constant batch is steep [I]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """What a run is made of, besides the preset and the data."""

    seed: int = 0
    deal_seed: int = 0
    """Who is in which fold, and who is kept back: runs with the same deal can be compared."""
    folds: tuple[int, ...] = tuple(range(FOLDS))
    ablation: Ablation | None = None
    grid: WindowGrid = field(default_factory=WindowGrid)
    rate_hz: float = 30.0
    """Frames per second of a recording without a video file."""
    calibration_share: float = 0.1
    """Of the training set's subjects, kept back to calibrate the spread [I]."""
    backbone: TrainingSchedule = field(
        default_factory=lambda: TrainingSchedule(epochs=40, learning_rate=1e-3)
    )
    fold: TrainingSchedule = field(
        default_factory=lambda: TrainingSchedule(epochs=60, learning_rate=1e-3)
    )
    fine_tuning_rate: float = 1e-4
    """Learning rate of a backbone that starts from weights of its own [I]."""
    unfreeze_epochs: int = 5
    """Such a backbone thaws by one stage, from the last, every so many epochs [L]."""
    frames_per_window: int = 8
    """Frames of a window that teach a backbone in one epoch [I]."""
    validation_stride: int = 30
    """Every so manieth frame validates a backbone [I]."""
    augmentation: Augmentation = field(default_factory=Augmentation)


def apply_ablation(preset: Preset, ablation: Ablation | None) -> Preset:
    """The preset without the part; a modality is left out of the features, not of the network."""
    fusion = preset.fusion
    match ablation:
        case Ablation.NO_LA_SE:
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
    """Kernels of one frame: the same depth and widths, no reach in time."""
    return replace(tcn, kernel=1)


def _remove_encoder_layers(encoder: EncoderConfig) -> EncoderConfig:
    """No layer: the concatenated modalities go through one linear map to the heads."""
    return replace(encoder, layers=0)
