"""Configurations of Triton's models against the signatures that the service calls."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from service.domain.model_signatures import (
    ENSEMBLE_MODELS,
    EXPORTED_MODELS,
    SERVED_MODELS,
    VALENCE_AROUSAL,
    ModelSignature,
)

MESSAGES: Any = import_module("tritonclient.grpc.model_config_pb2")
"""Protobuf builds the message classes at import: they have no static types."""
REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
BY_NAME = [pytest.param(signature, id=signature.name) for signature in SERVED_MODELS]
SCRIPTED_BY_NAME = [pytest.param(signature, id=signature.name) for signature in EXPORTED_MODELS]


def read_config(name: str) -> Any:
    text = (REPOSITORY / name / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, MESSAGES.ModelConfig())


def tensor_specs(tensors: Any, batched: bool) -> list[tuple[str, str, tuple[int, ...]]]:
    """Name, type and full shape of a configuration's tensors."""
    batch = (-1,) if batched else ()
    return [
        (one.name, MESSAGES.DataType.Name(one.data_type).removeprefix("TYPE_"), (*batch, *one.dims))
        for one in tensors
    ]


def test_exactly_the_served_models_are_in_the_repository() -> None:
    folders = {config.parent.name for config in REPOSITORY.glob("*/config.pbtxt")}
    assert folders == {signature.name for signature in SERVED_MODELS}


@pytest.mark.parametrize("signature", BY_NAME)
def test_config_has_the_names_types_and_shapes_of_the_signature(signature: ModelSignature) -> None:
    config = read_config(signature.name)
    batched = signature.max_batch_size > 0
    assert config.name == signature.name
    assert config.max_batch_size == signature.max_batch_size
    assert tensor_specs(config.input, batched) == [
        (one.name, one.data_type, one.shape) for one in signature.inputs
    ]
    assert tensor_specs(config.output, batched) == [
        (one.name, one.data_type, one.shape) for one in signature.outputs
    ]


@pytest.mark.parametrize("signature", SCRIPTED_BY_NAME)
def test_tensor_names_follow_the_convention_of_libtorch(signature: ModelSignature) -> None:
    config = read_config(signature.name)
    assert [one.name for one in config.input] == [
        f"INPUT__{index}" for index in range(len(config.input))
    ]
    assert [one.name for one in config.output] == [
        f"OUTPUT__{index}" for index in range(len(config.output))
    ]


@pytest.mark.parametrize("signature", SCRIPTED_BY_NAME)
def test_both_backends_can_serve_the_config(signature: ModelSignature) -> None:
    config = read_config(signature.name)
    assert (config.backend, config.platform, config.runtime) == ("pytorch", "", "")
    [group] = config.instance_group
    assert (group.kind, group.count) == (MESSAGES.ModelInstanceGroup.Kind.KIND_AUTO, 1)
    assert config.HasField("dynamic_batching") == (signature.max_batch_size > 0)
    # Two models that set it abort the server.
    assert "INTER_OP_THREAD_COUNT" not in config.parameters


def test_every_model_computes_in_one_thread() -> None:
    """More threads contend on few cores, and libtorch needs the same number in every model."""
    counts = {
        read_config(signature.name).parameters["INTRA_OP_THREAD_COUNT"].string_value
        for signature in EXPORTED_MODELS
    }
    assert counts == {"1"}


@pytest.mark.parametrize("signature", SCRIPTED_BY_NAME)
def test_warm_up_feeds_every_input(signature: ModelSignature) -> None:
    config = read_config(signature.name)
    assert len(config.model_warmup) > 0
    types = {one.name: one.data_type for one in config.input}
    for warmup in config.model_warmup:
        assert {name: one.data_type for name, one in warmup.inputs.items()} == types
        assert (warmup.batch_size > 0) == (signature.max_batch_size > 0)


def test_ensemble_connects_its_models_and_nothing_else() -> None:
    config = read_config(VALENCE_AROUSAL.name)
    steps = {step.model_name: step for step in config.ensemble_scheduling.step}
    assert set(steps) == {signature.name for signature in ENSEMBLE_MODELS}
    known = {one.name for one in config.input}
    for signature in ENSEMBLE_MODELS:
        step = steps[signature.name]
        assert set(step.input_map) == {one.name for one in signature.inputs}
        assert set(step.input_map.values()) <= known
        known |= set(step.output_map.values())
    assert {one.name for one in config.output} <= known


@pytest.mark.parametrize("signature", BY_NAME)
def test_every_version_folder_is_in_the_tree(signature: ModelSignature) -> None:
    assert (REPOSITORY / signature.name / "1" / ".gitkeep").is_file()
