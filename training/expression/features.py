"""Features of both expression networks, as a visual backbone of a training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.expression import dense_expression_net, mini_xception
from training.expression.dense_expression_net import DenseExpressionNet
from training.expression.mini_xception import MiniXception
from training.expression.serving import LUMA, ExpressionConfig, SquareView


class ExpressionFeatures(nn.Module):
    """The last maps of mini-XCEPTION (128) and of face-api's network (256), averaged."""

    def __init__(self) -> None:
        super().__init__()
        config = ExpressionConfig()
        self.mini, self.dense = MiniXception(), DenseExpressionNet()
        for network in (self.mini, self.dense):
            network.add_module("classifier", nn.Identity())
        self.mini_view = SquareView(config, mini_xception.INPUT_SIDE)
        self.dense_view = SquareView(config, dense_expression_net.INPUT_SIDE)
        self.luma = nn.Buffer(torch.tensor(LUMA).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) float32 in [-1, 1] to (B, 384)."""
        pixels = 127.5 * x + 127.5
        grey = (self.mini_view(pixels) * self.luma).sum(dim=1, keepdim=True)
        mini = self.mini.blocks(self.mini.stem(grey / 127.5 - 1.0)).mean(dim=(2, 3))
        colour = self.dense_view(pixels)
        dense = self.dense.blocks((colour - self.dense.mean_rgb) / 255.0).mean(dim=(2, 3))
        return torch.cat([mini, dense], dim=1)
