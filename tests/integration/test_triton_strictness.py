"""The stand-in refuses at load what the libtorch backend would refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from service.domain.arrays import Floats
from service.embedded.triton import TritonPorts, run_triton
from service.errors import PartNotStarted
from training.export import script

CONFIG = """
name: "{name}"
backend: "pytorch"
max_batch_size: 8
input [ {{ name: "{input}" data_type: TYPE_FP32 dims: [ 2 ] }} ]
output [ {{ name: "{output}" data_type: {output_type} dims: [ 2 ] }} ]
instance_group [ {{ kind: KIND_AUTO count: 1 }} ]
"""
RIGHT = {"input": "INPUT__0", "output": "OUTPUT__0", "output_type": "TYPE_FP32"}
FAULTS = {
    "one_based": (RIGHT | {"input": "INPUT__1"}, "tensors must be named ['INPUT__0'] from 0"),
    "free_name": (RIGHT | {"output": "answer"}, "tensors must be named ['OUTPUT__0'] from 0"),
    "bfloat": (RIGHT | {"output_type": "TYPE_BF16"}, "TYPE_BF16 is not supported"),
}


class Doubling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def write_model(repository: Path, name: str, config: dict[str, str]) -> None:
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG.format(name=name, **config))
    script(Doubling().eval()).save(folder / "1" / "model.pt")


def test_names_by_position_and_by_argument_serve_and_a_wrong_output_type_is_refused(
    triton_dir: Path, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    write_model(repository, "right", RIGHT)
    write_model(repository, "by_argument", RIGHT | {"input": "x"})
    write_model(repository, "other_type", RIGHT | {"output_type": "TYPE_INT64"})
    with run_triton(server_dir=triton_dir, repository=repository, logs_dir=tmp_path) as ports:
        assert double(ports, "right", "INPUT__0").tolist() == [[2, 4]]
        assert double(ports, "by_argument", "x").tolist() == [[2, 4]]
        with pytest.raises(InferenceServerException, match="the config says TYPE_INT64"):
            double(ports, "other_type", "INPUT__0")


def double(ports: TritonPorts, model: str, name: str) -> Floats:
    given = InferInput(name, [1, 2], "FP32")
    given.set_data_from_numpy(np.array([[1, 2]], np.float32))
    with InferenceServerClient(ports.grpc_url) as client:
        return client.infer(model, [given]).as_numpy("OUTPUT__0")


@pytest.mark.parametrize("name", FAULTS)
def test_wrong_names_and_types_keep_a_model_from_loading(
    triton_dir: Path, tmp_path: Path, name: str
) -> None:
    """One model a server: Triton 2.51 may crash while several fail to load at once."""
    config, reason = FAULTS[name]
    write_model(tmp_path / "repository", name, config)
    with (
        pytest.raises(PartNotStarted, match="Triton ended with status 1"),
        run_triton(server_dir=triton_dir, repository=tmp_path / "repository", logs_dir=tmp_path),
    ):
        pass
    log = (tmp_path / "triton.log").read_text()
    assert f"failed to load '{name}' version 1" in log
    assert reason in log
