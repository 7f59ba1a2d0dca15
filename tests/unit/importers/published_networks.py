"""ONNX files with random weights, of the architectures that are published.

Written with `onnx.helper` from the published descriptions and from exports of the published code,
not from this project's networks: ONNX Runtime computes what they have to compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
Padding = Literal["of_convolution", "constant", "from_shape"]
"""Form of TensorFlow's padding: in the convolution, or before it, with given or computed widths."""

# inner width, outputs, stride, residual
MOBILEFACENET_BLOCKS = [
    (128, 128, 2, False),
    *[(128, 128, 1, True)] * 4,
    (256, 256, 2, False),
    *[(256, 256, 1, True)] * 6,
    (512, 256, 2, False),
    *[(256, 256, 1, True)] * 2,
]
# blocks, expansion, outputs, kernel, stride
EFFICIENTNET_STAGES = [
    (1, 1, 16, 3, 1),
    (2, 6, 24, 3, 2),
    (2, 6, 40, 5, 2),
    (3, 6, 80, 3, 2),
    (3, 6, 112, 5, 1),
    (4, 6, 192, 5, 2),
    (1, 6, 320, 3, 1),
]


class OnnxBuilder:
    """Nodes and random weights of a graph; methods return the name of their result."""

    def __init__(self, *, batch_norms: bool, seed: int = 0) -> None:
        self.batch_norms = batch_norms
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def store(self, value: Array) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def draw(self, *shape: int, scale: float = 1.0) -> str:
        return self.store((scale * self.random.standard_normal(shape)).astype(np.float32))

    def draw_positive(self, size: int) -> str:
        return self.store(self.random.uniform(0.5, 1.5, size).astype(np.float32))

    def normalise(self, x: str, channels: int) -> str:
        parts = (
            self.draw_positive(channels),
            self.draw(channels, scale=0.1),
            self.draw(channels, scale=0.1),
            self.draw_positive(channels),
        )
        return self.add("BatchNormalization", x, *parts, epsilon=1e-5)

    def convolve(
        self,
        x: str,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        pads: Sequence[int] | None = None,
        has_norm: bool = True,
    ) -> str:
        fan_in = inputs // groups * kernel**2
        weight = self.draw(outputs, inputs // groups, kernel, kernel, scale=fan_in**-0.5)
        is_folded = not (self.batch_norms and has_norm)
        bias = (self.draw(outputs, scale=0.1),) if is_folded else ()
        result = self.add(
            "Conv",
            x,
            weight,
            *bias,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            group=groups,
            dilations=[1, 1],
            pads=pads or [kernel // 2] * 4,
        )
        return result if is_folded else self.normalise(result, outputs)

    def prelu(self, x: str, channels: int) -> str:
        return self.add("PRelu", x, self.draw(channels, 1, 1, scale=0.3))

    def silu(self, x: str) -> str:
        return self.add("Mul", x, self.add("Sigmoid", x))

    def finish(self, x: str, features: int, side: int) -> onnx.ModelProto:
        """End with the head of ten outputs."""
        weight, bias = self.draw(10, features, scale=features**-0.5), self.draw(10, scale=0.1)
        self.nodes.append(helper.make_node("Gemm", [x, weight, bias], ["output"], transB=1))
        picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["b", 3, side, side])
        output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["b", 10])
        graph = helper.make_graph(self.nodes, "graph", [picture], [output], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)


def build_mobilefacenet(*, batch_norms: bool) -> onnx.ModelProto:
    """MobileFaceNet with its batch norms folded or beside the convolutions."""
    b = OnnxBuilder(batch_norms=batch_norms)
    x = b.prelu(b.convolve("input", 3, 128, 3, stride=2), 128)
    x = b.prelu(b.convolve(x, 128, 128, 3, groups=64), 128)
    width = 128
    for inner, outputs, stride, is_residual in MOBILEFACENET_BLOCKS:
        y = b.prelu(b.convolve(x, width, inner), inner)
        y = b.prelu(b.convolve(y, inner, inner, 3, stride=stride, groups=inner), inner)
        y = b.convolve(y, inner, outputs)
        x, width = b.add("Add", x, y) if is_residual else y, outputs
    x = b.prelu(b.convolve(x, 256, 512), 512)
    x = b.convolve(x, 512, 512, 7, groups=512, pads=[0, 0, 0, 0])
    x = b.add("Reshape", x, b.store(np.array([-1, 512])))
    x = b.normalise(b.add("MatMul", x, b.draw(512, 512, scale=512**-0.5)), 512)
    return b.finish(x, 512, 112)


def build_efficientnet(*, padding: Padding) -> onnx.ModelProto:
    """EfficientNet-B0 with one form of TensorFlow's padding."""
    b = OnnxBuilder(batch_norms=padding == "constant", seed=1)
    x = b.silu(_convolve_same(b, "input", 3, 32, 3, 2, 1, padding))
    width = 32
    for blocks, expansion, outputs, kernel, first_stride in EFFICIENTNET_STAGES:
        for index in range(blocks):
            stride, inner = first_stride if index == 0 else 1, width * expansion
            y = b.silu(b.convolve(x, width, inner)) if expansion > 1 else x
            y = b.silu(_convolve_same(b, y, inner, inner, kernel, stride, inner, padding))
            pooled = b.add("ReduceMean", y, axes=[2, 3], keepdims=1)
            scale = b.silu(b.convolve(pooled, inner, width // 4, has_norm=False))
            scale = b.add("Sigmoid", b.convolve(scale, width // 4, inner, has_norm=False))
            y = b.convolve(b.add("Mul", y, scale), inner, outputs)
            x = b.add("Add", y, x) if (stride, width) == (1, outputs) else y
            width = outputs
    x = b.silu(b.convolve(x, 320, 1280))
    return b.finish(b.add("Flatten", b.add("GlobalAveragePool", x), axis=1), 1280, 224)


def _convolve_same(
    b: OnnxBuilder,
    x: str,
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int,
    groups: int,
    padding: Padding,
) -> str:
    if stride == 1:
        return b.convolve(x, inputs, outputs, kernel, groups=groups)
    before, after = (kernel - 2) // 2, kernel - 2 - (kernel - 2) // 2
    pads = [before, before, after, after]
    if padding != "of_convolution":
        widths = b.store(np.array([0, 0, before, before, 0, 0, after, after]))
        if padding == "from_shape":
            zeros = b.add("Mul", b.add("Shape", x), b.store(np.array([0])))
            widths = b.add("Add", b.add("Concat", zeros, zeros, axis=0), widths)
        x, pads = b.add("Pad", x, widths, b.store(np.array(0, np.float32))), [0, 0, 0, 0]
    return b.convolve(x, inputs, outputs, kernel, stride=stride, groups=groups, pads=pads)


def run_onnx(file: Path, pictures: Array) -> Array:
    """Compute the output of a file with ONNX Runtime."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": pictures})[0])
