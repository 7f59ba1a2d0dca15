"""Padding of TensorFlow's "same" convolutions and poolings, which PyTorch's symmetric one is not.

Where an odd number of rows is missing TensorFlow adds the extra one below and to the right.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def pad_same(maps: Tensor, stride: int, value: float) -> Tensor:
    """Pad (B, C, H, W) for a kernel of 3x3 at every `stride`-th pixel."""
    rows = count_missing(maps.shape[2], stride)
    columns = count_missing(maps.shape[3], stride)
    edges = [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
    return functional.pad(maps, edges, value=value)


def count_missing(length: int, stride: int) -> int:
    """Count the pixels that a side of this length lacks."""
    steps = (length - 1) // stride
    return max(steps * stride + 3 - length, 0)
