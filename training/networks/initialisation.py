"""Initial weights from a seed: bit-identical on every machine, with outputs that vary by input.

Weights are drawn in integer arithmetic, so that no rounding differs between machines. Kernels are
centred (their weights sum to zero): in an untrained network the mean of an image or a spectrum
would otherwise dominate its differences from others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from math import prod, sqrt
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from training.networks.encoder import EncoderLayer
from training.networks.fusion import FoldNetwork
from training.networks.iresnet import IResNet, ResidualBlock
from training.networks.tcn import CausalConvolution

_MAX_DRAW = 2**15 - 1
_RESIDUAL_GAIN = 0.2
"""Gain of a residual branch; 1 would triple the variance at every block."""
_EMBEDDING_GAIN = 2.0
"""Compensates LA-SE: untrained, each of its two sigmoids halves the map."""
_HEAD_GAIN = 0.6
"""Standard deviation of the input of tanh: well inside its linear range."""


def seed_weights(network: nn.Module, seed: int, scope: str) -> None:
    """Set every parameter of `network` from the seed, the scope and the parameter's key."""
    for name, module in _iter_modules(network):
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            _fill_centered(module.weight, f"{seed}/{scope}/{name}", sqrt(2.0))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, CausalConvolution):
            _fill_centered(module.weight_v, f"{seed}/{scope}/{name}", sqrt(2.0))
            nn.init.constant_(module.weight_g, sqrt(2.0))
            nn.init.zeros_(module.bias)
    for name, module in _iter_modules(network):
        _scale_initial_weights(module, f"{seed}/{scope}/{name}")


def _iter_modules(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return cast("Iterator[tuple[str, nn.Module]]", network.named_modules())


def _scale_initial_weights(module: nn.Module, key: str) -> None:
    if isinstance(module, ResidualBlock):
        nn.init.constant_(module.bn3.weight, _RESIDUAL_GAIN)
        if isinstance(module.downsample, nn.Sequential):
            _fill_centered(_get_weight(module.downsample[0]), f"{key}/downsample", 1.0)
    elif isinstance(module, IResNet):
        _fill_centered(module.fc.weight, f"{key}/fc", _EMBEDDING_GAIN)
    elif isinstance(module, EncoderLayer):
        _fill_centered(module.attention.projection.weight, f"{key}/attention", 1.0)
        _fill_centered(module.attention.output.weight, f"{key}/output", 1.0)
    elif isinstance(module, FoldNetwork):
        for target, head in enumerate(module.heads):
            _fill_centered(_get_weight(head), f"{key}/head/{target}", _HEAD_GAIN)


def _get_weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    return layer.weight


@torch.no_grad()
def _fill_centered(weight: Tensor, key: str, gain: float) -> None:
    """Draw uniform weights, centred per output, with standard deviation gain / sqrt(inputs)."""
    inputs = prod(weight.shape[1:])
    digest = hashlib.sha256(key.encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    draws = generator.integers(
        -_MAX_DRAW, _MAX_DRAW, size=(weight.shape[0], inputs), dtype=np.int16
    ).astype(np.int64)
    if inputs > 1:
        draws = draws * inputs - draws.sum(axis=1, keepdims=True)
        gain /= inputs
    scale = gain * sqrt(3.0 / inputs) / _MAX_DRAW
    weight.copy_(torch.as_tensor((draws * scale).astype(np.float32)).view(weight.shape))
