"""Reader of face-api's weights: the tensors of a manifest one after the other in one file.

Most are uint8 with a scale and a minimum, the rest float32: the weights format of TensorFlow.js.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from service.domain.array_types import Float32Array
from training.expression.dense_expression_net import DenseExpressionNet
from training.expression.errors import ExpressionWeightsInvalid
from training.expression.weight_files import DENSE_NET_FILE, DENSE_NET_MANIFEST, read_weight_file

_CONVOLUTION_AXES = (3, 2, 0, 1)
_DEPTHWISE_AXES = (2, 3, 0, 1)


def load_dense_net(folder: Path) -> DenseExpressionNet:
    """Load the network with its weights, in evaluation mode.

    Raises: ExpressionWeightsMissing, ExpressionWeightsInvalid.
    """
    manifest = json.loads(read_weight_file(folder, DENSE_NET_MANIFEST))
    arrays = dequantise(manifest, read_weight_file(folder, DENSE_NET_FILE))
    network = DenseExpressionNet()
    state = network.state_dict()
    for name, values in arrays.items():
        key, array = _to_torch(name, values)
        if key not in state or state[key].shape != array.shape:
            raise ExpressionWeightsInvalid(f"{name} has no place in the network")
        state[key] = torch.from_numpy(np.ascontiguousarray(array))
    network.load_state_dict(state)
    return network.eval()


def dequantise(manifest: list[dict[str, Any]], content: bytes) -> dict[str, Float32Array]:
    """Cut the content into the manifest's tensors: uint8 * scale + min, or float32.

    Raises: ExpressionWeightsInvalid: the content is not as long as its tensors.
    """
    arrays: dict[str, Float32Array] = {}
    position = 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        shape, scaling = tuple(entry["shape"]), entry.get("quantization")
        stored = np.dtype("<f4" if scaling is None else scaling["dtype"])
        size = int(np.prod(shape)) * stored.itemsize
        part = content[position : position + size]
        if len(part) != size:
            raise ExpressionWeightsInvalid(f"{entry['name']} is cut off")
        values = np.frombuffer(part, stored).reshape(shape).astype(np.float32)
        if scaling is not None:
            values = values * np.float32(scaling["scale"]) + np.float32(scaling["min"])
        arrays[entry["name"]] = cast("Float32Array", values)
        position += size
    if position != len(content):
        raise ExpressionWeightsInvalid(f"{len(content) - position} bytes belong to no tensor")
    return arrays


def _to_torch(name: str, values: Float32Array) -> tuple[str, Float32Array]:
    """Translate a tensor, as `dense0/conv1/pointwise_filter`, to the network's key and axes."""
    *layers, kind = name.split("/")
    if layers == ["fc"]:
        return ("classifier.weight", values.T) if kind == "weights" else ("classifier.bias", values)
    block, convolution = layers
    layer = f"blocks.{block.removeprefix('dense')}.{convolution}"
    inner = "convolution" if layer == "blocks.0.conv0" else "pointwise"
    match kind:
        case "filters":
            return f"{layer}.convolution.weight", values.transpose(_CONVOLUTION_AXES)
        case "depthwise_filter":
            return f"{layer}.depthwise.weight", values.transpose(_DEPTHWISE_AXES)
        case "pointwise_filter":
            return f"{layer}.pointwise.weight", values.transpose(_CONVOLUTION_AXES)
        case _:
            return f"{layer}.{inner}.bias", values
