"""Fusion network: embeddings of a window to valence and arousal, for one fold and for all six."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from service.domain.model_signatures import FOLDS, TARGETS
from training.networks.encoder import Encoder, EncoderConfig
from training.networks.tcn import Tcn, TcnConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionConfig:
    """Sizes of one fold; the defaults are those of the paper's lineage."""

    visual: TcnConfig = field(default_factory=TcnConfig)
    audio: TcnConfig = field(
        default_factory=lambda: TcnConfig(inputs=128, widths=(128, 128, 64, 64))
    )
    encoder: EncoderConfig = field(default_factory=EncoderConfig)


class FoldNetwork(nn.Module):
    """Network of one fold: one TCN per modality, early fusion, one head per target."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.visual = Tcn(config.visual)
        self.audio = Tcn(config.audio)
        self.encoder = Encoder(config.visual.outputs + config.audio.outputs, config.encoder)
        self.heads = nn.ModuleList([nn.Linear(config.encoder.width, 1) for _ in TARGETS])

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> Tensor:
        """Estimate every frame of a batch of windows.

        Args:
            visual: (B, T, 512).
            audio: (B, T, 128).
            mask: (B, T) bool, True where a frame exists; values of masked frames have no
                influence on the others.
        Returns: (B, T, 2) in [-1, 1]; values of masked frames are meaningless.

        """
        # masked_fill, not a product: 0 * NaN is NaN.
        absent = ~mask.unsqueeze(-1)
        visual = self.visual(visual.masked_fill(absent, 0.0), mask)
        audio = self.audio(audio.masked_fill(absent, 0.0), mask)
        frames = self.encoder(torch.cat([visual, audio], dim=-1), mask)
        return torch.cat([torch.tanh(head(frames)) for head in self.heads], dim=-1)


class FoldEnsemble(nn.Module):
    """Ensemble of the folds: their mean is the estimate, their spread its uncertainty.

    `folds[i]` is trained and stored separately; its state dict is that of `FoldNetwork`.
    """

    def __init__(self, config: FusionConfig, folds: int = FOLDS) -> None:
        super().__init__()
        self.folds = nn.ModuleList([FoldNetwork(config) for _ in range(folds)])

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of `FoldNetwork` to mean and (biased) standard deviation, (B, T, 2) each."""
        stacked = torch.stack([fold(visual, audio, mask) for fold in self.folds])
        return stacked.mean(dim=0), stacked.std(dim=0, correction=0)
