"""Validation by the stand-in backend: it rejects the configs that libtorch's would reject."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from service.domain.array_types import Float32Array
from service.embedded.process import find_free_ports, run_process
from service.embedded.triton import (
    TritonPorts,
    build_triton_command,
    build_triton_environment,
    is_triton_ready,
    shared_memory_prefix,
)
from service.errors import EmbeddedServerNotStarted
from training.export import script_model

START_SECONDS = 180.0
CONFIG = """
name: "{name}"
backend: "pytorch"
max_batch_size: 8
input [ {{ name: "{input}" data_type: TYPE_FP32 dims: [ 2 ] }} ]
output [ {{ name: "{output}" data_type: {output_type} dims: [ 2 ] }} ]
instance_group [ {{ kind: KIND_AUTO count: 1 }} ]
"""
VALID_CONFIG = {"input": "INPUT__0", "output": "OUTPUT__0", "output_type": "TYPE_FP32"}
INVALID_CONFIGS = {
    "one_based": (
        VALID_CONFIG | {"input": "INPUT__1"},
        "tensors must be named ['INPUT__0'] from 0",
    ),
    "free_name": (
        VALID_CONFIG | {"output": "answer"},
        "tensors must be named ['OUTPUT__0'] from 0",
    ),
    "bfloat": (VALID_CONFIG | {"output_type": "TYPE_BF16"}, "TYPE_BF16 is not supported"),
}


class DoublingNetwork(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def write_model(repository: Path, name: str, config: dict[str, str]) -> None:
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG.format(name=name, **config))
    script_model(DoublingNetwork().eval()).save(folder / "1" / "model.pt")


@contextmanager
def running_models(
    triton_dir: Path, repository: Path, logs_dir: Path, *names: str
) -> Generator[TritonPorts]:
    """Run Triton with models that belong to no estimator."""
    http, grpc, metrics = find_free_ports(3)
    ports = TritonPorts(http=http, grpc=grpc, metrics=metrics)
    with (
        shared_memory_prefix() as prefix,
        run_process(
            "Triton",
            build_triton_command(triton_dir, repository, ports, prefix, names),
            is_ready=lambda: is_triton_ready(http),
            log_file=logs_dir / "triton.log",
            start_seconds=START_SECONDS,
            environment=build_triton_environment(triton_dir),
        ),
    ):
        yield ports


def test_names_by_position_and_by_argument_are_served_and_a_wrong_output_type_is_rejected(
    triton_dir: Path, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    write_model(repository, "right", VALID_CONFIG)
    write_model(repository, "by_argument", VALID_CONFIG | {"input": "x"})
    write_model(repository, "other_type", VALID_CONFIG | {"output_type": "TYPE_INT64"})
    models = ("right", "by_argument", "other_type")
    with running_models(triton_dir, repository, tmp_path, *models) as ports:
        assert infer_double(ports, "right", "INPUT__0").tolist() == [[2, 4]]
        assert infer_double(ports, "by_argument", "x").tolist() == [[2, 4]]
        with pytest.raises(InferenceServerException, match="the config says TYPE_INT64"):
            infer_double(ports, "other_type", "INPUT__0")


def infer_double(ports: TritonPorts, model: str, name: str) -> Float32Array:
    model_input = InferInput(name, [1, 2], "FP32")
    model_input.set_data_from_numpy(np.array([[1, 2]], np.float32))
    with InferenceServerClient(ports.grpc_url) as client:
        output = client.infer(model, [model_input]).as_numpy("OUTPUT__0")
    assert output is not None
    return output


@pytest.mark.parametrize("name", INVALID_CONFIGS)
def test_wrong_names_and_types_prevent_loading(triton_dir: Path, tmp_path: Path, name: str) -> None:
    """One model per server: Triton 2.51 may crash while several fail to load at once."""
    config, reason = INVALID_CONFIGS[name]
    write_model(tmp_path / "repository", name, config)
    with (
        pytest.raises(EmbeddedServerNotStarted, match="Triton ended with status 1"),
        running_models(triton_dir, tmp_path / "repository", tmp_path, name),
    ):
        pass
    log = (tmp_path / "triton.log").read_text()
    assert f"failed to load '{name}' version 1" in log
    assert reason in log
