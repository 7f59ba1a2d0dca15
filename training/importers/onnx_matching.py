"""Weights of an ONNX file for a network of this project, by the order of the computation.

The network is traced, and each of its layers has to be the file's next step: the same operator on
the same earlier result, with the same settings and shapes. Batch norms that the file has beside a
convolution or a linear layer are folded into it. At the end every weight of the file is used once,
and every parameter of the network is filled.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, fx, nn

from training.importers.errors import ArchitectureMismatch, WeightsNotFinite
from training.importers.onnx_file import Array, OnnxModel, OnnxStep, read_onnx

_IDENTITIES: Final = ("Identity", "Dropout", "Cast")
_SYMMETRIC: Final = ("Add", "Mul")
_FUNCTIONS: Final[Mapping[object, str]] = {operator.add: "Add", operator.mul: "Mul"}


def load_onnx(network: nn.Module, file: Path) -> None:
    """Fill the parameters of a network whose first output is the file's only one.

    Raises: ImportRefused: the file cannot be read, is of another network, or has weights that are
        not finite.
    """
    state = GraphMatcher(read_onnx(file), network).match()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    network.eval()


class GraphMatcher:
    """Comparison of a traced network with the steps of a file."""

    def __init__(self, model: OnnxModel, network: nn.Module) -> None:
        self._model = model
        self._network = network
        self._steps = [step for step in model.steps if step.operator not in _IDENTITIES]
        self._renamed = {
            step.output: step.inputs[0] for step in model.steps if step.operator in _IDENTITIES
        }
        self._position = 0
        self._used: set[str] = set()
        self._padding: dict[str, tuple[int, ...]] = {}
        """Padding of a result that the following convolution has to do; left, right, up, down."""
        self._state: dict[str, Array] = {}

    def match(self) -> dict[str, Array]:
        """Return the parameters by their keys. Raises: ArchitectureMismatch, WeightsNotFinite."""
        names: dict[fx.Node, str] = {}
        for node in fx.symbolic_trace(self._network).graph.nodes:
            inputs = [names[each] for each in node.all_input_nodes if each in names]
            match node.op:
                case "placeholder":
                    names[node] = self._model.picture
                case "call_module":
                    names[node] = self._match_layer(str(node.target), inputs[0])
                case "call_function" if node.target in _FUNCTIONS:
                    names[node] = self._next(_FUNCTIONS[node.target], inputs, str(node)).output
                case "output":
                    self._check_end(inputs[0])
                case _:
                    raise AssertionError(f"{node} of the network is not compared")
        return self._state

    def _match_layer(self, name: str, source: str) -> str:
        """Compare a layer with the file's next step; returns the name of its result."""
        layer = self._network.get_submodule(name)
        match layer:
            case nn.Identity():
                return source
            case nn.ZeroPad2d():
                return self._match_padding(layer, source)
            case nn.Conv2d():
                return self._match_convolution(name, layer, source)
            case nn.Linear():
                return self._match_linear(name, layer, source)
            case nn.AdaptiveAvgPool2d():
                return self._match_pooling(name, source)
            case _:
                return self._match_pointwise(name, layer, source)

    def _match_pointwise(self, name: str, layer: nn.Module, source: str) -> str:
        match layer:
            case nn.PReLU():
                step = self._next("PRelu", [source], name)
                slopes = self._take(step, 1, name)
                self._add(f"{name}.weight", slopes.reshape(-1), layer.weight)
                return step.output
            case nn.SiLU():
                scale = self._next("Sigmoid", [source], name)
                return self._next("Mul", [source, scale.output], name).output
            case nn.Sigmoid():
                return self._next("Sigmoid", [source], name).output
            case nn.Flatten():
                step = self._next(("Flatten", "Reshape"), [source], name)
                if step.attributes.get("axis", 1) != 1:
                    raise ArchitectureMismatch(f"{name} keeps the axis of the batch.")
                return step.output
            case _:
                raise AssertionError(f"{type(layer).__name__} is not compared")

    def _match_padding(self, layer: nn.ZeroPad2d, source: str) -> str:
        left, right, up, down = layer.padding
        step = self._steps[self._position] if self._position < len(self._steps) else None
        if step is None or step.operator != "Pad":
            self._padding[source] = (left, right, up, down)
            return source
        step = self._next("Pad", [source], "padding")
        expected = [0, 0, up, left, 0, 0, down, right]
        pads = self._model.constants.get(step.inputs[1]) if len(step.inputs) > 1 else None
        if pads is None and "pads" in step.attributes:
            pads = np.asarray(step.attributes["pads"])
        # Otherwise the file computes it from the shape of the picture, as TensorFlow does.
        if pads is not None and pads.tolist() != expected:
            raise ArchitectureMismatch(f"The padding is {pads.tolist()}, not {expected}.")
        fill = self._model.constants.get(step.inputs[2]) if len(step.inputs) > 2 else None  # noqa: PLR2004 - data, pads, fill
        if (fill is not None and np.any(fill)) or step.attributes.get("mode", b"constant") != (
            b"constant"
        ):
            raise ArchitectureMismatch("The padding is not of zeros.")
        return step.output

    def _match_convolution(self, name: str, layer: nn.Conv2d, source: str) -> str:
        step = self._next("Conv", [source], name)
        up, left = cast("tuple[int, int]", layer.padding)
        before_left, before_right, before_up, before_down = self._padding.pop(source, (0,) * 4)
        pads = (up + before_up, left + before_left, up + before_down, left + before_right)
        expected = {
            "group": layer.groups,
            "strides": layer.stride,
            "pads": pads,
            "kernel_shape": layer.kernel_size,
            "dilations": layer.dilation,
        }
        found = {
            "group": 1,
            "strides": (1, 1),
            "pads": (0, 0, 0, 0),
            "kernel_shape": layer.kernel_size,
            "dilations": (1, 1),
            **step.attributes,
        }
        if found.pop("auto_pad", b"NOTSET") != b"NOTSET" or found != expected:
            raise ArchitectureMismatch(f"{name} has {_format(found)}, not {_format(expected)}.")
        weight = self._take(step, 1, name)
        bias = self._take(step, 2, name) if len(step.inputs) > 2 else None  # noqa: PLR2004 - data, weight, bias
        return self._add_affine(name, layer, step.output, weight, bias)

    def _match_linear(self, name: str, layer: nn.Linear, source: str) -> str:
        step = self._next(("Gemm", "MatMul"), [source], name)
        weight, bias, output = self._take(step, 1, name), None, step.output
        found = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0, **step.attributes}
        if (found["alpha"], found["beta"], found["transA"]) != (1.0, 1.0, 0):
            raise ArchitectureMismatch(f"{name} has {_format(found)}.")
        if not found["transB"]:
            weight = weight.T
        if len(step.inputs) > 2:  # noqa: PLR2004 - data, weight, bias
            bias = self._take(step, 2, name)
        elif self._peek() == "Add":
            following = self._next("Add", [output], name)
            index = 1 if self._resolve(following.inputs[0]) == output else 0
            bias, output = self._take(following, index, name), following.output
        return self._add_affine(name, layer, output, weight, bias)

    def _match_pooling(self, name: str, source: str) -> str:
        step = self._next(("GlobalAveragePool", "ReduceMean"), [source], name)
        if step.operator == "ReduceMean":
            axes = step.attributes.get("axes")
            if axes is None and len(step.inputs) > 1:
                constant = self._model.constants.get(step.inputs[1])
                axes = None if constant is None else tuple(constant.tolist())
            if axes not in ((2, 3), (-2, -1), (-1, -2)) or step.attributes.get("keepdims", 1) != 1:
                raise ArchitectureMismatch(f"{name} is the mean over the axes {axes}.")
        return step.output

    def _add_affine(
        self,
        name: str,
        layer: nn.Conv2d | nn.Linear,
        output: str,
        weight: Array,
        bias: Array | None,
    ) -> str:
        """Add weight and bias, with the following batch norm folded in if there is one."""
        weights = weight.astype(np.float64)
        biases = np.zeros(len(weights)) if bias is None else bias.astype(np.float64)
        if self._peek() == "BatchNormalization":
            step = self._next("BatchNormalization", [output], name)
            gain, shift, mean, variance = (self._take(step, index, name) for index in range(1, 5))
            epsilon = float(step.attributes.get("epsilon", 1e-5))
            shapes = {each.shape for each in (gain, shift, mean, variance)}
            if np.any(variance < 0) or shapes != {biases.shape}:
                raise ArchitectureMismatch(f"{name} has an impossible batch norm.")
            factors = gain.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
            weights = weights * factors.reshape(-1, *[1] * (weights.ndim - 1))
            biases, output = (biases - mean) * factors + shift, step.output
        self._add(f"{name}.weight", weights, layer.weight)
        self._add(f"{name}.bias", biases, layer.bias)
        return output

    def _peek(self) -> str | None:
        """Operator of the file's next step."""
        return self._steps[self._position].operator if self._position < len(self._steps) else None

    def _next(self, operators: str | tuple[str, ...], inputs: list[str], name: str) -> OnnxStep:
        """Take the file's next step, which has one of these operators and these inputs."""
        allowed = (operators,) if isinstance(operators, str) else operators
        if self._peek() not in allowed:
            raise ArchitectureMismatch(
                f"{name} is {' or '.join(allowed)}; the file has {self._peek() or 'no more steps'}."
            )
        step = self._steps[self._position]
        self._position += 1
        found = [self._resolve(each) for each in step.inputs]
        expected = [self._resolve(each) for each in inputs]
        if step.operator in _SYMMETRIC:
            fits = len(found) == 2 and set(expected) <= set(found)  # noqa: PLR2004 - two operands
        else:
            fits = found[:1] == expected
        if not fits:
            raise ArchitectureMismatch(f"{name} works on another result in the file.")
        return step

    def _resolve(self, name: str) -> str:
        while name in self._renamed:
            name = self._renamed[name]
        return name

    def _take(self, step: OnnxStep, index: int, layer: str) -> Array:
        """Take the weight that a step has as an input, once."""
        name = step.inputs[index] if index < len(step.inputs) else ""
        value = self._model.constants.get(name)
        if value is None or value.dtype.kind != "f":
            raise ArchitectureMismatch(f"A weight of {layer} is no constant of the file.")
        if name in self._used:
            raise ArchitectureMismatch(f"The file uses {name!r} twice.")
        self._used.add(name)
        if not np.isfinite(value).all():
            raise WeightsNotFinite(f"{name!r} has values that are not finite.")
        return value

    def _add(self, key: str, value: Array, parameter: Tensor | None) -> None:
        expected = () if parameter is None else tuple(parameter.shape)
        if value.shape != expected:
            raise ArchitectureMismatch(f"{key} is {value.shape} in the file, not {expected}.")
        single = value.astype(np.float32)
        if not np.isfinite(single).all():
            raise WeightsNotFinite(f"{key} is not finite with its batch norm.")
        self._state[key] = np.ascontiguousarray(single)

    def _check_end(self, output: str) -> None:
        if self._position < len(self._steps) or self._resolve(self._model.output) != output:
            raise ArchitectureMismatch("The file computes more than the network.")
        unused = sorted(self._model.weights - self._used)
        if unused:
            raise ArchitectureMismatch(f"Weights without a layer: {', '.join(unused[:5])}.")


def _format(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(settings.items()))
