"""Reading of ONNX files: the weights and the steps of the computation.

Nothing of a file is executed. `onnx` parses the bytes; files beside it are never opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from training.importers.errors import OnnxNotSelfContained, OnnxUnreadable

MAX_FILE_BYTES: Final = 256 * 2**20
MAX_NODES: Final = 20_000
_MAX_DIMENSIONS: Final = 8
_STANDARD_DOMAINS: Final = ("", "ai.onnx")
_SHAPE_OPERATORS: Final = ("Shape", "Size")
_ELEMENT_BYTES: Final[Mapping[int, int]] = {
    onnx.TensorProto.FLOAT: 4,
    onnx.TensorProto.DOUBLE: 8,
    onnx.TensorProto.INT32: 4,
    onnx.TensorProto.INT64: 8,
    onnx.TensorProto.BOOL: 1,
}

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxStep:
    """One operation on what is computed from the picture, in the file's order."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxModel:
    """Steps from the picture to the output, and the constants that they refer to.

    Computations of shapes, which begin with the operator Shape or with constants alone, are left
    out. `weights`: names of the tensors of floating point with several elements, each of which has
    to be some layer's.
    """

    picture: str
    output: str
    steps: tuple[OnnxStep, ...]
    constants: Mapping[str, Array]
    weights: frozenset[str]


def read_onnx(file: Path) -> OnnxModel:
    """Read an ONNX file with one input and one output.

    Raises: OnnxUnreadable: it is none, is damaged or too large. OnnxNotSelfContained: it refers to
        other files, or to operators that are not of the standard.
    """
    graph = _parse(file).graph
    constants = {tensor.name: _read_tensor(tensor) for tensor in graph.initializer}
    pictures = [value.name for value in graph.input if value.name not in constants]
    if len(pictures) != 1 or len(graph.output) != 1:
        raise OnnxUnreadable(
            f"The model has {len(pictures)} inputs and {len(graph.output)} outputs, not one each."
        )
    steps: list[OnnxStep] = []
    computed, renamed = {pictures[0]}, set[str]()
    for node in graph.node:
        if computed.intersection(node.output) or constants.keys() & set(node.output):
            raise OnnxUnreadable(f"The result of the node {node.name!r} has a name in use.")
        if node.op_type == "Constant":
            constants[_get_output(node)] = _read_constant(node)
        elif node.op_type not in _SHAPE_OPERATORS and computed.intersection(node.input):
            steps.append(_read_step(node))
            computed.add(steps[-1].output)
        elif _fold_constant(node, constants):
            renamed.add(node.input[0])
    weights = {
        name for name, value in constants.items() if value.dtype.kind == "f" and value.size > 1
    }
    return OnnxModel(
        picture=pictures[0],
        output=graph.output[0].name,
        steps=tuple(steps),
        constants=constants,
        weights=frozenset(weights - renamed),
    )


def _parse(file: Path) -> onnx.ModelProto:
    """Parse the bytes, and refuse what would need more than them."""
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise OnnxUnreadable(f"{file.name} has more than {MAX_FILE_BYTES:,} bytes.")
        model = onnx.ModelProto.FromString(file.read_bytes())
    except OSError as error:
        raise OnnxUnreadable(f"{file.name}: {error.strerror}.") from error
    except DecodeError as error:
        raise OnnxUnreadable(f"{file.name} is no ONNX model, or is damaged.") from error
    if not model.graph.node or len(model.graph.node) > MAX_NODES:
        raise OnnxUnreadable(f"{file.name} is an ONNX model of {len(model.graph.node)} nodes.")
    if not all(isinstance(text, str) for text in _list_texts(model.graph)):
        raise OnnxUnreadable(f"{file.name} has a name that is not UTF-8.")
    if model.functions or model.graph.sparse_initializer:
        raise OnnxNotSelfContained("The model defines operators or sparse weights.")
    foreign = {node.domain for node in model.graph.node} - set(_STANDARD_DOMAINS)
    if foreign:
        raise OnnxNotSelfContained(f"Operators of {', '.join(sorted(foreign))!r} are not read.")
    return model


def _list_texts(graph: onnx.GraphProto) -> Iterator[object]:
    """List the names of a graph; the parser leaves one that is not UTF-8 as bytes."""
    yield from (each.name for each in (*graph.initializer, *graph.input, *graph.output))
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (each.name for each in node.attribute)


def _read_tensor(tensor: onnx.TensorProto) -> Array:
    """Read a tensor whose data are in the file and as long as its shape says."""
    if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise OnnxNotSelfContained(f"The data of {tensor.name!r} are in another file.")
    width = _ELEMENT_BYTES.get(tensor.data_type)
    if width is None or tensor.HasField("segment"):
        raise OnnxUnreadable(f"The tensor {tensor.name!r} is of a type that is not read.")
    if min(tensor.dims, default=0) < 0 or prod(tensor.dims) * width > MAX_FILE_BYTES:
        raise OnnxUnreadable(f"The tensor {tensor.name!r} has an impossible shape.")
    try:
        return numpy_helper.to_array(tensor).copy()
    except (ValueError, TypeError) as error:
        raise OnnxUnreadable(f"The data of {tensor.name!r} are damaged: {error}.") from error


def _read_constant(node: onnx.NodeProto) -> Array:
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.type == onnx.AttributeProto.TENSOR:
            return _read_tensor(attribute.t)
        if attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
            return np.asarray(onnx.helper.get_attribute_value(attribute))
    raise OnnxUnreadable(f"The constant {node.name!r} is of a type that is not read.")


def _read_step(node: onnx.NodeProto) -> OnnxStep:
    values = {each.name: _read_attribute(each) for each in node.attribute}
    if node.op_type == "Cast" and values.get("to") != onnx.TensorProto.FLOAT:
        raise OnnxUnreadable(f"The node {node.name!r} converts to a type that is not read.")
    return OnnxStep(
        operator=node.op_type,
        inputs=tuple(node.input),
        output=_get_output(node),
        attributes=values,
    )


def _read_attribute(attribute: onnx.AttributeProto) -> int | float | bytes | tuple[int, ...]:
    match attribute.type:
        case onnx.AttributeProto.INT:
            return attribute.i
        case onnx.AttributeProto.FLOAT:
            return attribute.f
        case onnx.AttributeProto.INTS:
            return tuple(attribute.ints)
        case onnx.AttributeProto.STRING:
            return attribute.s
        case _:
            raise OnnxUnreadable(f"The attribute {attribute.name!r} is of a type that is not read.")


def _get_output(node: onnx.NodeProto) -> str:
    if len(node.output) != 1:
        raise OnnxUnreadable(f"The node {node.name!r} has {len(node.output)} outputs, not one.")
    return node.output[0]


def _fold_constant(node: onnx.NodeProto, constants: dict[str, Array]) -> bool:
    """Add what Identity, Unsqueeze and Transpose make of a constant; False for other nodes."""
    source = constants.get(node.input[0]) if node.input else None
    if source is None:
        return False
    integers = {each.name: tuple(each.ints) for each in node.attribute}
    axes = integers.get("axes")
    match node.op_type:
        case "Identity":
            constants[_get_output(node)] = source
        case "Unsqueeze" if axes is not None and len(set(axes)) <= _MAX_DIMENSIONS:
            try:
                constants[_get_output(node)] = np.expand_dims(source, axes)
            except ValueError as error:
                raise OnnxUnreadable(f"The node {node.name!r} has impossible axes.") from error
        case "Transpose" if (
            integers.get("perm", (1, 0)) == (1, 0) == tuple(range(source.ndim))[::-1]
        ):
            constants[_get_output(node)] = source.T
        case _:
            return False
    return True
