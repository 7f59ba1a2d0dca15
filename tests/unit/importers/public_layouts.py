"""Public layouts: keys and shapes of the public files, with weights determined by their keys."""

from __future__ import annotations

import hashlib
from math import prod, sqrt

import numpy as np
import torch
from torch import Tensor

from service.domain.array_types import Float32Array

Shapes = dict[str, tuple[int, ...]]

STAGES = ((64, 64, 3), (64, 128, 4), (128, 256, 14), (256, 512, 3))
"""Channels in, channels out, blocks."""


def batch_norm_shapes(name: str, width: int) -> Shapes:
    vectors = {f"{name}.{leaf}": (width,) for leaf in ("weight", "bias")}
    running = {f"{name}.running_{leaf}": (width,) for leaf in ("mean", "var")}
    return vectors | running | {f"{name}.num_batches_tracked": ()}


def arcface_iresnet50() -> Shapes:
    """Return the 475 keys of ArcFace-torch's `backbone.pth`."""
    shapes: Shapes = (
        {"conv1.weight": (64, 3, 3, 3)} | batch_norm_shapes("bn1", 64) | {"prelu.weight": (64,)}
    )
    for stage, (inputs, width, blocks) in enumerate(STAGES, start=1):
        for block in range(blocks):
            name, first = f"layer{stage}.{block}", inputs if block == 0 else width
            shapes |= batch_norm_shapes(f"{name}.bn1", first) | {
                f"{name}.conv1.weight": (width, first, 3, 3)
            }
            shapes |= batch_norm_shapes(f"{name}.bn2", width) | {f"{name}.prelu.weight": (width,)}
            shapes |= {f"{name}.conv2.weight": (width, width, 3, 3)} | batch_norm_shapes(
                f"{name}.bn3", width
            )
            if block == 0:
                shapes |= {f"{name}.downsample.0.weight": (width, inputs, 1, 1)}
                shapes |= batch_norm_shapes(f"{name}.downsample.1", width)
    shapes |= batch_norm_shapes("bn2", 512) | {"fc.weight": (512, 25_088), "fc.bias": (512,)}
    return shapes | batch_norm_shapes("features", 512)


def emotion_ir50() -> Shapes:
    """Return the 351 keys of the ABAW3 pipeline's `res50_ir_0.887.pth`, with its classifier."""
    shapes: Shapes = {"input_layer.0.weight": (64, 3, 3, 3)} | batch_norm_shapes(
        "input_layer.1", 64
    )
    shapes |= {"input_layer.2.weight": (64,)} | batch_norm_shapes("output_layer.0", 512)
    shapes |= {"output_layer.3.weight": (512, 12_800), "output_layer.3.bias": (512,)}
    shapes |= batch_norm_shapes("output_layer.4", 512)
    units = [
        (inputs if block == 0 else width, width)
        for inputs, width, blocks in STAGES
        for block in range(blocks)
    ]
    for number, (inputs, width) in enumerate(units):
        shortcut, residual = f"body.{number}.shortcut_layer", f"body.{number}.res_layer"
        if inputs != width:
            shapes |= {f"{shortcut}.0.weight": (width, inputs, 1, 1)} | batch_norm_shapes(
                f"{shortcut}.1", width
            )
        shapes |= batch_norm_shapes(f"{residual}.0", inputs) | {
            f"{residual}.1.weight": (width, inputs, 3, 3)
        }
        shapes |= {f"{residual}.2.weight": (width,), f"{residual}.3.weight": (width, width, 3, 3)}
        shapes |= batch_norm_shapes(f"{residual}.4", width)
    head = {"logits.weight": (8, 512), "logits.bias": (8,)}
    return {f"backbone.{key}": shape for key, shape in shapes.items()} | head


def vggish() -> Shapes:
    """Return the 18 keys of torchvggish's `vggish.pth`."""
    widths = {
        0: (1, 64),
        3: (64, 128),
        6: (128, 256),
        8: (256, 256),
        11: (256, 512),
        13: (512, 512),
    }
    dense = {0: (12_288, 4096), 2: (4096, 4096), 4: (4096, 128)}
    shapes: Shapes = {}
    for layer, (inputs, outputs) in widths.items():
        shapes[f"features.{layer}.weight"] = (outputs, inputs, 3, 3)
        shapes[f"features.{layer}.bias"] = (outputs,)
    for layer, (inputs, outputs) in dense.items():
        shapes[f"embeddings.{layer}.weight"] = (outputs, inputs)
        shapes[f"embeddings.{layer}.bias"] = (outputs,)
    return shapes


def imagenet_resnet50() -> Shapes:
    """Return the keys of torchvision's `resnet50` by which it is recognised."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7)} | batch_norm_shapes("bn1", 64)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            for layer, side in ((1, 1), (2, 3), (3, 1)):
                width = 32 * 2**stage
                shapes[f"layer{stage}.{block}.conv{layer}.weight"] = (width, width, side, side)
                shapes |= batch_norm_shapes(f"layer{stage}.{block}.bn{layer}", width)
    return shapes | {"fc.weight": (1000, 2048), "fc.bias": (1000,)}


def draw_array(key: str, shape: tuple[int, ...]) -> Float32Array:
    """Draw numbers in [-1, 1] from a key, in integer arithmetic, identical on every machine."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest(), "big")
    integers = np.random.Generator(np.random.PCG64(seed)).integers(
        -32_767, 32_768, size=prod(shape), dtype=np.int16
    )
    return (integers.astype(np.float32) / np.float32(32_767)).reshape(shape)


def draw_weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """Draw a weight, scaled so that activations stay near 1 through the network."""
    if not shape:
        return torch.tensor(7)
    values = draw_array(key, shape)
    if len(shape) > 1:
        values *= np.float32(1.4 / sqrt(prod(shape[1:])))
    elif key.endswith(("bias", "running_mean")):
        values *= np.float32(0.2)
    else:
        values = np.float32(0.6) + np.float32(0.4) * values
    return torch.as_tensor(values)


def make_state_dict(shapes: Shapes) -> dict[str, Tensor]:
    return {key: draw_weight(key, shape) for key, shape in shapes.items()}


def make_zero_state_dict(shapes: Shapes) -> dict[str, Tensor]:
    """Build tensors that share a single zero, to write small files."""
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}


def make_crops() -> Tensor:
    """Make (3, 3, 112, 112) uint8 crops of coarse blocks with fine grain."""
    coarse = np.kron(draw_array("coarse", (3, 3, 8, 8)), np.ones((14, 14), np.float32))
    return torch.as_tensor(
        (127.5 + 90 * coarse + 30 * draw_array("grain", (3, 3, 112, 112))).astype(np.uint8)
    )


def make_waveform() -> Tensor:
    """Make (32000,) float32: a loud tone that stops after 1.2 of 2 s, over faint noise."""
    seconds = np.arange(32_000) / 16_000
    tone = 0.8 * np.sin(2 * np.pi * 220 * seconds) * (seconds < 1.2)
    waveform = tone + 0.003 * draw_array("noise", (32_000,))
    return torch.as_tensor(waveform.astype(np.float32))
