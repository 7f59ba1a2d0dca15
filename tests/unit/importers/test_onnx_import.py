"""Weights of ONNX files in this project's networks, held to ONNX Runtime; refused files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from tests.unit.importers.published_networks import (
    OnnxBuilder,
    build_efficientnet,
    build_mobilefacenet,
    run_onnx,
)
from training.importers.errors import (
    ArchitectureMismatch,
    ImportRefused,
    OnnxNotSelfContained,
    OnnxUnreadable,
    WeightsNotFinite,
)
from training.importers.onnx_matching import load_onnx
from training.networks.efficientnet import EfficientNet
from training.networks.mobilefacenet import MobileFaceNet

TOLERANCE = 1e-5

PUBLISHED = {
    "MobileFaceNet, folded": (MobileFaceNet, 112, lambda: build_mobilefacenet(batch_norms=False)),
    "MobileFaceNet": (MobileFaceNet, 112, lambda: build_mobilefacenet(batch_norms=True)),
    "EfficientNet, padding of the convolution": (
        EfficientNet,
        224,
        lambda: build_efficientnet(padding="of_convolution"),
    ),
    "EfficientNet, constant padding, batch norms": (
        EfficientNet,
        224,
        lambda: build_efficientnet(padding="constant"),
    ),
    "EfficientNet, computed padding": (
        EfficientNet,
        224,
        lambda: build_efficientnet(padding="from_shape"),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_outputs_are_those_of_onnx_runtime(name: str, tmp_path: Path) -> None:
    build_network, side, build_model = PUBLISHED[name]
    onnx.save(build_model(), tmp_path / "model.onnx")
    network = build_network()
    load_onnx(network, tmp_path / "model.onnx")
    pictures = np.random.default_rng(5).standard_normal((2, 3, side, side)).astype(np.float32)
    expected = run_onnx(tmp_path / "model.onnx", pictures)
    with torch.inference_mode():
        found, embedding = network(torch.from_numpy(pictures))
    assert expected.std() > 0.1
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=TOLERANCE)
    with torch.inference_mode():
        np.testing.assert_array_equal(network.head(embedding).numpy(), found.numpy())


class TinyNetwork(nn.Module):
    """A convolution with PReLU, added to its input, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.prelu = nn.PReLU(4)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(4 * 6 * 6, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(x)
        features = self.flatten(first + self.prelu(self.second(first)))
        return self.head(features), features


def build_tiny() -> onnx.ModelProto:
    """The file of a TinyNetwork: Conv, Conv, PRelu, Add, Flatten, Gemm."""
    b = OnnxBuilder(batch_norms=False)
    first = b.convolve("input", 3, 4, 3)
    x = b.add("Add", first, b.prelu(b.convolve(first, 4, 4, 3), 4))
    return b.finish(b.add("Flatten", x), 4 * 6 * 6, 6)


def replace_weight(model: onnx.ModelProto, index: int, value: np.ndarray) -> None:
    weight = model.graph.initializer[index]
    weight.CopyFrom(numpy_helper.from_array(value, weight.name))


def set_stride(model: onnx.ModelProto) -> None:
    for attribute in model.graph.node[0].attribute:
        if attribute.name == "strides":
            attribute.ints[:] = [2, 2]


def set_residual(model: onnx.ModelProto) -> None:
    model.graph.node[3].input[0] = model.graph.node[1].output[0]


def set_relu(model: onnx.ModelProto) -> None:
    model.graph.node[2].CopyFrom(
        helper.make_node("Relu", model.graph.node[2].input[:1], model.graph.node[2].output)
    )


def append_softmax(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(helper.make_node("Softmax", ["scores"], ["output"]))


def append_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "more"))


def share_weight(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[2] = model.graph.node[0].input[2]


def drop_slopes(model: onnx.ModelProto) -> None:
    del model.graph.node[2].input[1]


def widen_weight(model: onnx.ModelProto) -> None:
    replace_weight(model, 0, np.zeros((8, 3, 3, 3), np.float32))


def compute_weight(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[1] = "input"


def spoil_weight(model: onnx.ModelProto) -> None:
    replace_weight(model, 1, np.array([0, np.nan, 0, 0], np.float32))


def refer_to_file(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")


def use_foreign_operator(model: onnx.ModelProto) -> None:
    model.graph.node[2].domain = "com.example"


def define_operator(model: onnx.ModelProto) -> None:
    model.functions.add(name="PRelu")


def shorten_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = b"\0" * 8


def inflate_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [2**40, 2**40]


def negate_dimension(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -4


def append_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(model.graph.output[0])


def reuse_name(model: onnx.ModelProto) -> None:
    model.graph.node.insert(1, helper.make_node("Identity", ["t0"], ["t0"]))


def nest_graph(model: onnx.ModelProto) -> None:
    model.graph.node[2].attribute.append(helper.make_attribute("body", model.graph))


def remove_nodes(model: onnx.ModelProto) -> None:
    del model.graph.node[:]


ALTERATIONS: dict[Callable[[onnx.ModelProto], None], type[ImportRefused]] = {
    set_stride: ArchitectureMismatch,
    set_residual: ArchitectureMismatch,
    set_relu: ArchitectureMismatch,
    append_softmax: ArchitectureMismatch,
    append_weight: ArchitectureMismatch,
    share_weight: ArchitectureMismatch,
    drop_slopes: ArchitectureMismatch,
    widen_weight: ArchitectureMismatch,
    compute_weight: ArchitectureMismatch,
    spoil_weight: WeightsNotFinite,
    refer_to_file: OnnxNotSelfContained,
    use_foreign_operator: OnnxNotSelfContained,
    define_operator: OnnxNotSelfContained,
    shorten_weight: OnnxUnreadable,
    inflate_weight: OnnxUnreadable,
    negate_dimension: OnnxUnreadable,
    append_output: OnnxUnreadable,
    reuse_name: OnnxUnreadable,
    nest_graph: OnnxUnreadable,
    remove_nodes: OnnxUnreadable,
}


@pytest.mark.parametrize("alter", ALTERATIONS, ids=lambda alter: alter.__name__)
def test_an_altered_file_is_refused(
    alter: Callable[[onnx.ModelProto], None], tmp_path: Path
) -> None:
    model = build_tiny()
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    load_onnx(TinyNetwork(), tmp_path / "model.onnx")
    alter(model)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    network = TinyNetwork()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ALTERATIONS[alter]) as refusal:
        load_onnx(network, tmp_path / "model.onnx")
    assert type(refusal.value) is ALTERATIONS[alter]
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_file_of_another_architecture_is_refused(tmp_path: Path) -> None:
    onnx.save(build_efficientnet(padding="constant"), tmp_path / "model.onnx")
    with pytest.raises(ArchitectureMismatch, match=r"stem\.0\.conv"):
        load_onnx(MobileFaceNet(), tmp_path / "model.onnx")


@pytest.mark.parametrize("length", [0, 1, 100, 5_000])
def test_a_cut_file_is_refused(length: int, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(build_tiny().SerializeToString()[:length])
    with pytest.raises(ImportRefused):
        load_onnx(TinyNetwork(), tmp_path / "model.onnx")


def test_damaged_bytes_are_refused_or_read_as_weights(tmp_path: Path) -> None:
    whole = build_tiny().SerializeToString()
    random = np.random.default_rng(3)
    outcomes: set[str] = set()
    for _ in range(200):
        damaged = bytearray(whole)
        place = int(random.integers(len(whole)))
        damaged[place : place + 2] = random.bytes(2)
        (tmp_path / "model.onnx").write_bytes(damaged)
        try:
            load_onnx(TinyNetwork(), tmp_path / "model.onnx")
            outcomes.add("read")
        except ImportRefused as refusal:
            outcomes.add(type(refusal).__name__)
    assert {"read", "OnnxUnreadable"} <= outcomes


def test_a_name_that_is_not_text_is_refused(tmp_path: Path) -> None:
    damaged = build_tiny().SerializeToString().replace(b"strides", b"strid\xff\xff")
    (tmp_path / "model.onnx").write_bytes(damaged)
    with pytest.raises(OnnxUnreadable, match="UTF-8"):
        load_onnx(TinyNetwork(), tmp_path / "model.onnx")


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(pickle.dumps({"weight": [1.0] * 100}))
    with pytest.raises(OnnxUnreadable):
        load_onnx(TinyNetwork(), tmp_path / "model.onnx")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OnnxUnreadable, match="No such file"):
        load_onnx(TinyNetwork(), tmp_path / "model.onnx")
