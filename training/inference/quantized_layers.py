"""Convolution and linear layer in 8-bit integers: oneDNN's kernels, sums in 32 bits.

Inputs are quantised per tensor to unsigned integers, an affine step before the layer (a batch norm)
in the same pass; weights per output channel to signed integers, symmetric. Outputs are float32.

The kernels want the weights in a layout of the processor's own, which cannot be saved: the first
call brings them into it. On a GPU PyTorch's operators compute the same with the rounded numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.inference.fused_layers import (
    FusedConvolution,
    FusedLinear,
    FusedSum,
    to_channels_last,
)

_LEVELS: Final = 255.0
_LARGEST_WEIGHT: Final = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRange:
    """Range of a layer's inputs that 8 bits span; what is outside is clipped to it."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AffineStep:
    """Scale and shift per channel, before a layer: (C,) each."""

    scale: Tensor
    shift: Tensor

    @classmethod
    def of_norm(cls, norm: nn.BatchNorm2d) -> AffineStep:
        """Return what a batch norm computes in evaluation mode."""
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        scale = norm.weight.detach() / torch.sqrt(variance + norm.eps)
        return cls(scale=scale, shift=norm.bias.detach() - mean * scale)


class QuantizedLayer(nn.Module):
    """Base: the numbers of inputs and weights. `broadcast`: shape of a value per channel."""

    def __init__(
        self,
        layer: FusedConvolution | FusedLinear,
        inputs: InputRange,
        before: AffineStep | None,
        broadcast: list[int],
    ) -> None:
        super().__init__()
        low, high = min(inputs.low, 0.0), max(inputs.high, 0.0)
        self.scale = max(high - low, 1e-12) / _LEVELS
        self.zero_point = round(-low / self.scale)  # zero is exact: it is the padding
        self.levels = _LEVELS
        channels = layer.weight.shape[1]
        step = before or AffineStep(scale=torch.ones(channels), shift=torch.zeros(channels))
        half = 0.5  # the cast rounds down
        self.multiplier = _make_constant((step.scale / self.scale).view(broadcast))
        self.offset = _make_constant(
            (step.shift / self.scale + self.zero_point + half).view(broadcast)
        )
        weight = layer.weight.float()
        largest = weight.abs().flatten(1).amax(dim=1).clamp(min=1e-12)
        self.weight_scales = _make_constant(largest / _LARGEST_WEIGHT)
        self.weight_zeros = _make_constant(torch.zeros(len(weight), dtype=torch.int32))
        per_output = self.weight_scales.view(-1, *[1] * (weight.dim() - 1))
        self.weight = _make_constant((weight / per_output).round().to(torch.int8).contiguous())
        self.bias = _make_constant(layer.bias.float())
        self.activation = layer.activation
        self.packed = torch.empty(0)

    def quantize(self, values: Tensor) -> Tensor:
        """Values to 8-bit integers of the same shape."""
        scaled = torch.addcmul(self.offset, values, self.multiplier)
        return scaled.clamp_(0.0, self.levels).to(torch.uint8)

    def dequantize(self, integers: Tensor) -> Tensor:
        """Return the inputs that the integers stand for."""
        return (integers.float() - self.zero_point) * self.scale


class QuantizedConvolution(QuantizedLayer):
    """Convolution, with an activation."""

    def __init__(
        self, layer: FusedConvolution, inputs: InputRange, before: AffineStep | None = None
    ) -> None:
        super().__init__(layer, inputs, before, [1, -1, 1, 1])
        self.stride = layer.stride
        self.padding = layer.padding
        self.dilation = layer.dilation
        self.groups = layer.groups
        self.has_activation = layer.activation == "relu"

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        return self.convolve(maps, self.activation)

    def convolve(self, maps: Tensor, activation: str) -> Tensor:
        """Compute the convolution and an activation, which is `relu` or `none`."""
        integers = self.quantize(to_channels_last(maps))
        if integers.is_cuda:
            outputs = self.convolve_rounded(integers)
            return outputs.relu() if activation == "relu" else outputs
        if self.packed.numel() == 0:
            self.packed = torch.ops.onednn.qconv_prepack(
                self.weight,
                self.weight_scales,
                self.scale,
                self.zero_point,
                self.stride,
                self.padding,
                self.dilation,
                self.groups,
                integers.shape,
            )
        return torch.ops.onednn.qconv2d_pointwise(
            integers,
            self.scale,
            self.zero_point,
            self.packed,
            self.weight_scales,
            self.weight_zeros,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            1.0,
            0,
            torch.float32,
            activation,
            [],
            "",
        )

    def convolve_rounded(self, integers: Tensor) -> Tensor:
        """Compute the convolution of the rounded numbers, by PyTorch's operator."""
        return functional.conv2d(
            self.dequantize(integers),
            self.weight.float() * self.weight_scales.view(-1, 1, 1, 1),
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )


class QuantizedSum(QuantizedConvolution):
    """Convolution added to other maps, which stay float32, with an activation."""

    def forward(self, maps: Tensor, other: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # two inputs
        """(B, C, H, W) and (B, C', H', W') to (B, C', H', W')."""
        total = self.convolve(maps, "none").add_(other)
        return total.relu_() if self.has_activation else total


class QuantizedLinear(QuantizedLayer):
    """Linear layer, with a ReLU or none after it."""

    def __init__(
        self, layer: FusedLinear, inputs: InputRange, before: AffineStep | None = None
    ) -> None:
        super().__init__(layer, inputs, before, [1, -1])

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) to (B, D')."""
        integers = self.quantize(features)
        if integers.is_cuda:
            weight = self.weight.float() * self.weight_scales[:, None]
            product = functional.linear(self.dequantize(integers), weight, self.bias)
            return product.relu() if self.activation == "relu" else product
        if self.packed.numel() == 0:
            self.packed = torch.ops.onednn.qlinear_prepack(self.weight, integers.shape)
        return torch.ops.onednn.qlinear_pointwise(
            integers,
            self.scale,
            self.zero_point,
            self.packed,
            self.weight_scales,
            self.weight_zeros,
            self.bias,
            1.0,
            0,
            torch.float32,
            self.activation,
            [],
            "",
        )


def is_quantizable(layer: nn.Module) -> bool:
    """Return whether a fused layer is large enough to be faster in 8 bits."""
    if isinstance(layer, FusedConvolution):
        _, channels, height, width = layer.weight.shape
        is_spatial = height * width > 1 and channels >= 16  # noqa: PLR2004 - a quarter of a register
        return layer.groups == 1 and is_spatial and layer.activation in {"none", "relu"}
    return isinstance(layer, FusedLinear) and layer.weight.shape[1] >= 1024  # noqa: PLR2004 - of weights read from memory


def build_quantized(
    layer: nn.Module, inputs: InputRange, before: AffineStep | None
) -> QuantizedLayer:
    """Build the 8-bit layer of a fused one."""
    if isinstance(layer, FusedSum):
        return QuantizedSum(layer, inputs, before)
    if isinstance(layer, FusedConvolution):
        return QuantizedConvolution(layer, inputs, before)
    assert isinstance(layer, FusedLinear)
    return QuantizedLinear(layer, inputs, before)


def _make_constant(weight: Tensor) -> nn.Buffer:
    return nn.Buffer(weight.detach(), persistent=False)
