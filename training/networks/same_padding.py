"""Padding of TensorFlow's "same" convolutions and poolings, which PyTorch's symmetric one is not.

Where an odd number of rows is missing TensorFlow adds the extra one below and to the right.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class SamePadding(nn.Module):
    """Pads maps with zeros for a kernel of 3x3 at every `stride`-th pixel."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H', W')."""
        rows = count_missing(maps.shape[2], self.stride)
        columns = count_missing(maps.shape[3], self.stride)
        edges = [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
        return functional.pad(maps, edges)


class SamePooling(nn.Module):
    """Maximum of 3x3 pixels at every second pixel of square maps."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, S, S) to (B, C, ceil(S / 2), ceil(S / 2))."""
        is_odd = maps.shape[2] % 2 == 1
        return functional.max_pool2d(maps, 3, 2, padding=int(is_odd), ceil_mode=not is_odd)


def count_missing(length: int, stride: int) -> int:
    """Count the pixels that a side of this length lacks."""
    steps = (length - 1) // stride
    return max(steps * stride + 3 - length, 0)
