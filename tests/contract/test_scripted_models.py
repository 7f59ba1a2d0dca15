"""Exported models of both presets against their signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from service.domain.model_signatures import EXPORTED_MODELS, ModelSignature, Tensor
from service.estimators.repository import EstimatorRepository
from training.export import load_model

TYPES = {
    "UINT8": torch.uint8,
    "FP32": torch.float32,
    "INT64": torch.int64,
    "BOOL": torch.bool,
}
FRAMES = 3
SAMPLES = 20_000
SCRIPTED_BY_NAME = [pytest.param(signature, id=signature.name) for signature in EXPORTED_MODELS]


@pytest.fixture(params=["mini_repository", "paper_repository"], ids=["mini", "paper"])
def repository(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def find_file(folder: Path, signature: ModelSignature) -> Path:
    """Path of a signature's file in a repository of one estimator."""
    repository = EstimatorRepository(folder)
    [estimator] = repository.list_ids()
    return repository.model_file(estimator, signature.name)


def make_example_input(signature: ModelSignature, tensor: Tensor) -> torch.Tensor:
    """Zeros of the tensor's type and shape; -1 becomes FRAMES, or SAMPLES of a waveform."""
    is_waveform = signature.name == "log_mel" and tensor.data_type == "FP32"
    length = SAMPLES if is_waveform else FRAMES
    shape = [length if side == -1 else side for side in tensor.shape]
    return torch.zeros(shape, dtype=TYPES[tensor.data_type])


@pytest.mark.parametrize("signature", SCRIPTED_BY_NAME)
def test_forward_matches_the_signature(repository: Path, signature: ModelSignature) -> None:
    model = load_model(find_file(repository, signature))
    schema = cast(Any, model.forward).schema
    assert [str(one.type) for one in schema.arguments[1:]] == ["Tensor"] * len(signature.inputs)
    with torch.inference_mode():
        result = model(*(make_example_input(signature, tensor) for tensor in signature.inputs))
    outputs = (result,) if isinstance(result, torch.Tensor) else result
    assert [(one.dtype, tuple(one.shape)) for one in outputs] == [
        (TYPES[tensor.data_type], (FRAMES, *tensor.shape[1:])) for tensor in signature.outputs
    ]


@pytest.mark.parametrize("signature", SCRIPTED_BY_NAME)
def test_model_has_no_parameters(mini_repository: Path, signature: ModelSignature) -> None:
    model = load_model(find_file(mini_repository, signature))
    assert list(model.parameters()) == []
