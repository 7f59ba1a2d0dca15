"""Convolution and linear layer, each with what follows it as one call of a oneDNN kernel.

A sum or an activation in the kernel costs no pass over the maps of its own. In fp32 oneDNN also has
twice the rate of the matrix products that PyTorch calls otherwise on an AMD processor with AVX-512,
and its choice of a kernel does not depend on the number of threads. On a GPU the same is computed
by PyTorch's operators.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class FusedConvolution(nn.Module):
    """Convolution, with an activation.

    activation: as oneDNN names it: `none`, `relu`, `swish`.
    """

    def __init__(self, convolution: nn.Conv2d, activation: str) -> None:
        super().__init__()
        weight = convolution.weight.detach()
        self.weight = _make_constant(weight.contiguous(memory_format=torch.channels_last))
        self.bias = _make_constant(_read_bias(convolution))
        self.stride = list(convolution.stride)
        self.padding = _read_padding(convolution)
        self.dilation = list(convolution.dilation)
        self.groups = convolution.groups
        self.activation = activation

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        maps = to_channels_last(maps)
        if not has_kernels(maps):
            return self.activate(self.convolve(maps))
        return torch.ops.mkldnn._convolution_pointwise(  # noqa: SLF001 - oneDNN's fused kernels have no other name
            maps,
            self.weight,
            self.bias,
            self.padding,
            self.stride,
            self.dilation,
            self.groups,
            self.activation,
            [],
            "",
        )

    def convolve(self, maps: Tensor) -> Tensor:
        """Compute the convolution alone, by PyTorch's operator."""
        return functional.conv2d(
            maps, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def activate(self, maps: Tensor) -> Tensor:
        """Apply the activation, by PyTorch's operators."""
        if self.activation == "relu":
            return functional.relu(maps)
        if self.activation == "swish":
            return functional.silu(maps)
        return maps


class FusedSum(FusedConvolution):
    """Convolution added to other maps, with an activation."""

    def __init__(self, convolution: nn.Conv2d, activation: str) -> None:
        super().__init__(convolution, activation)
        self.has_activation = activation != "none"

    def forward(self, maps: Tensor, other: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # two inputs
        """(B, C, H, W) and (B, C', H', W') to (B, C', H', W')."""
        maps = to_channels_last(maps)
        if not has_kernels(maps):
            return self.activate(self.convolve(maps) + other)
        activation = self.activation if self.has_activation else None
        return torch.ops.mkldnn._convolution_pointwise(  # noqa: SLF001 - oneDNN's fused kernels have no other name
            maps,
            other,
            self.weight,
            self.bias,
            self.padding,
            self.stride,
            self.dilation,
            self.groups,
            "add",
            None,
            activation,
            [],
            "",
        )


class FusedLinear(nn.Module):
    """Linear layer, with a ReLU or none after it."""

    def __init__(self, linear: nn.Linear, activation: str) -> None:
        super().__init__()
        self.weight = _make_constant(linear.weight.detach())
        self.bias = _make_constant(_read_bias(linear))
        self.activation = activation

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) to (B, D')."""
        if not has_kernels(features):
            product = functional.linear(features, self.weight, self.bias)
            return product.relu() if self.activation == "relu" else product
        return torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001 - as above
            features, self.weight, self.bias, self.activation, [], ""
        )


def has_kernels(values: Tensor) -> bool:
    """Return whether oneDNN computes with values of this type on their device.

    A processor without bfloat16 computes it by PyTorch's operators: the same, but slowly.
    """
    if values.is_cuda:
        return False
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 - as above
    return values.dtype != torch.bfloat16 or supported


def to_channels_last(maps: Tensor) -> Tensor:
    """Return (B, C, H, W) in the memory layout of (B, H, W, C).

    Of a single channel both layouts are the same bytes: only by its strides is it seen as such, and
    otherwise every later map would be in the slower layout.
    """
    if maps.shape[1] == 1:
        batch, _, height, width = maps.shape
        return maps.reshape(batch, height, width, 1).permute(0, 3, 1, 2)
    return maps.contiguous(memory_format=torch.channels_last)


def _make_constant(weight: Tensor) -> nn.Buffer:
    """Build a buffer that the state dict leaves out: the network itself has the weights there."""
    return nn.Buffer(weight, persistent=False)


def _read_bias(layer: nn.Conv2d | nn.Linear) -> Tensor:
    if layer.bias is None:
        return layer.weight.new_zeros(layer.weight.shape[0]).detach()
    return layer.bias.detach()


def _read_padding(convolution: nn.Conv2d) -> list[int]:
    if isinstance(convolution.padding, str):
        raise TypeError(f"padding {convolution.padding!r} is not numbers")
    return list(convolution.padding)
