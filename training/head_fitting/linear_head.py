"""Served fusion of a fitted head: a linear map of the first features of each face."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from service.domain.array_types import Float64Array
from service.domain.model_signatures import TARGETS


class LinearFusion(nn.Module):
    """A linear map of the first K face features to valence and arousal; the voice has no part.

    There is one map, so the spread is zero: the standard deviation is that of the calibration.
    """

    def __init__(self, coefficients: Float64Array) -> None:
        """Create a fusion from (K + 1, 2) coefficients, the intercepts first."""
        super().__init__()
        self.features = len(coefficients) - 1
        self.map = nn.Linear(self.features, len(TARGETS))
        with torch.no_grad():
            self.map.weight.copy_(torch.as_tensor(coefficients[1:].T.copy()))
            self.map.bias.copy_(torch.as_tensor(coefficients[0]))

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - of the served signature
        """(..., T, 512), (..., T, 128), (..., T) to mean and spread, (..., T, 2) each."""
        seen = visual[..., : self.features].masked_fill(~mask.unsqueeze(-1), 0.0)
        mean = self.map(seen).clamp(-1.0, 1.0)
        return mean, torch.zeros_like(mean)
