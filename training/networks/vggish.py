"""VGGish, the audio backbone: log-mel patches to embeddings.

State-dict keys are those of the public torchvggish weights. Its PCA post-processing is optional
and off by default [L].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from service.domain.audio_grid import MEL_BANDS, PATCH_HOPS
from service.domain.model_signatures import VOICE_FEATURES


@dataclass(frozen=True, slots=True, kw_only=True)
class VggishConfig:
    """Sizes of the audio backbone; the defaults are VGGish [L]."""

    stages: tuple[tuple[int, ...], ...] = ((64,), (128,), (256, 256), (512, 512))
    """Widths of the convolutions before each pooling."""
    hidden: tuple[int, int] = (4096, 4096)
    features: int = VOICE_FEATURES
    final_relu: bool = False
    """torchvggish ends with a ReLU; the affect pipelines remove it [L]."""
    whitened: bool = False
    """Apply torchvggish's PCA post-processing, to integers from 0 to 255."""

    @property
    def flat_features(self) -> int:
        """Length of the flattened last feature map: every stage halves both sides."""
        halvings = 2 ** len(self.stages)
        return (PATCH_HOPS // halvings) * (MEL_BANDS // halvings) * self.stages[-1][-1]


class Whitening(nn.Module):
    """PCA with whitening, clipped to 2 deviations, in 256 steps. Source: torchvggish [L]."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.axes = nn.Buffer(torch.eye(features))
        self.means = nn.Buffer(torch.zeros(features))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, features) to the same shape, integers from 0 to 255."""
        whitened = (embeddings - self.means) @ self.axes.T
        return ((whitened.clamp(-2.0, 2.0) + 2.0) * (255.0 / 4.0)).round()


class Vggish(nn.Module):
    """Backbone from log-mel patches to embeddings. Source: Hershey et al. 2017, torchvggish [L]."""

    def __init__(self, config: VggishConfig) -> None:
        super().__init__()
        self.features = _build_convolutions(config.stages)
        first, second = config.hidden
        layers = [
            nn.Linear(config.flat_features, first),
            nn.ReLU(inplace=True),
            nn.Linear(first, second),
            nn.ReLU(inplace=True),
            nn.Linear(second, config.features),
        ]
        self.embeddings = nn.Sequential(*layers, *([nn.ReLU()] if config.final_relu else []))
        self.whitening = Whitening(config.features) if config.whitened else nn.Identity()

    def forward(self, patches: Tensor) -> Tensor:
        """(B, 96, 64) log-mel to (B, features).

        The map is flattened height first, then width, then channels, as the
        original TensorFlow weights expect.
        """
        maps = self.features(patches.unsqueeze(1))
        return self.whitening(self.embeddings(maps.permute(0, 2, 3, 1).flatten(1)))


def _build_convolutions(stages: tuple[tuple[int, ...], ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 1
    for widths in stages:
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
