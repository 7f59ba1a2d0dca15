"""Network presets: the paper's sizes, and a mini version that trains on two CPU cores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from torch import nn

from training.networks.encoder import EncoderConfig
from training.networks.fusion import FoldEnsemble, FusionConfig
from training.networks.initialisation import seed_weights
from training.networks.iresnet import IResNetConfig
from training.networks.log_mel import LogMel, LogMelConfig
from training.networks.tcn import TcnConfig
from training.networks.vggish import Vggish, VggishConfig
from training.networks.visual_architectures import VisualConfig, build_visual_network


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Sizes of every network; the defaults are the paper's."""

    name: str
    visual: VisualConfig = field(default_factory=IResNetConfig)
    audio: VggishConfig = field(default_factory=VggishConfig)
    log_mel: LogMelConfig = field(default_factory=LogMelConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)


PAPER: Final = Preset(name="paper")
MINI: Final = Preset(
    name="mini",
    visual=IResNetConfig(
        blocks=(2, 2, 2, 2), widths=(16, 32, 64, 64), scaled_side=56, input_side=48
    ),
    audio=VggishConfig(stages=((8,), (16,), (32, 32), (32, 32)), hidden=(128, 128)),
    fusion=FusionConfig(
        visual=TcnConfig(inputs=512, widths=(64, 64, 32, 32), kernel=3),
        audio=TcnConfig(inputs=128, widths=(32, 32, 32, 32), kernel=3),
        encoder=EncoderConfig(
            width=64,
            layers=2,
            feedforward=64,
            dropout=0.1,
            attention_dropout=0.0,
            directed=True,
        ),
    ),
)
PRESETS: Final = {preset.name: preset for preset in (MINI, PAPER)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The networks of one preset, each in evaluation mode."""

    visual: nn.Module
    log_mel: LogMel
    audio: Vggish
    fusion: FoldEnsemble


def build_networks(
    preset: Preset, seed: int, *, visual: nn.Module | None = None, audio: Vggish | None = None
) -> Networks:
    """Build networks with weights that depend on the seed only.

    A backbone that is passed in is used unchanged, regardless of the preset's sizes.
    """
    networks = Networks(
        visual=visual or build_visual_network(preset.visual).eval(),
        log_mel=LogMel(preset.log_mel).eval(),
        audio=audio or Vggish(preset.audio).eval(),
        fusion=FoldEnsemble(preset.fusion).eval(),
    )
    if visual is None:
        seed_weights(networks.visual, seed, "visual")
    if audio is None:
        seed_weights(networks.audio, seed, "audio")
    seed_weights(networks.fusion, seed, "fusion")
    return networks
