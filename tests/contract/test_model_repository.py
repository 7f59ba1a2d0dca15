"""Configurations of Triton's models against signatures, manifest and templates."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from service.domain.estimator import EstimatorId
from service.domain.model_signatures import (
    ENSEMBLE_MODELS,
    EXPORTED_MODELS,
    FUSION,
    SERVED_MODELS,
    VALENCE_AROUSAL,
    VISUAL_BACKBONE,
    ModelSignature,
)
from tests.fake_estimators import LICENCES, make_manifest
from training import triton_configs
from training.export import ExportTarget, write_estimator
from training.presets import MINI, build_networks
from training.serving import build_served_models
from training.triton_configs import render_config

MESSAGES: Any = import_module("tritonclient.grpc.model_config_pb2")
"""Protobuf builds the message classes at import: they have no static types."""
TEMPLATES = Path(triton_configs.__file__).parent
ESTIMATOR = EstimatorId("some-name_2", 13)
BY_NAME = [pytest.param(signature, id=signature.name) for signature in SERVED_MODELS]
SCRIPTED_BY_NAME = [pytest.param(signature, id=signature.name) for signature in EXPORTED_MODELS]


def read_config(slot: str, *, has_voice: bool = True, file_sha256: str = "") -> Any:
    """Render and parse the configuration of one of an estimator's models."""
    text = render_config(ESTIMATOR, slot, has_voice=has_voice, file_sha256=file_sha256)
    return text_format.Parse(text, MESSAGES.ModelConfig())


def tensor_specs(tensors: Any, batched: bool) -> list[tuple[str, str, tuple[int, ...]]]:
    """Name, type and full shape of a configuration's tensors."""
    batch = (-1,) if batched else ()
    return [
        (one.name, MESSAGES.DataType.Name(one.data_type).removeprefix("TYPE_"), (*batch, *one.dims))
        for one in tensors
    ]


def test_every_served_model_has_a_template_and_the_ensemble_one_more() -> None:
    assert {file.stem for file in TEMPLATES.glob("*.pbtxt")} == {
        *(signature.name for signature in SERVED_MODELS),
        f"{VALENCE_AROUSAL.name}_face",
    }


@pytest.mark.parametrize("modalities", [("face", "voice"), ("face",)], ids=" and ".join)
def test_exactly_the_models_of_the_manifest_are_in_the_repository(
    tmp_path: Path, modalities: tuple[str, ...]
) -> None:
    networks = build_networks(MINI, seed=0)
    manifest = make_manifest("mini", 1, modalities=modalities)
    served = build_served_models(networks)
    exported = write_estimator(
        {slot: served[slot] for slot in manifest.models},
        ExportTarget(repository=tmp_path, estimator=manifest.id),
        origins={slot: {} for slot in manifest.models},
        facts={"domain": None, "modalities": modalities, "licences": LICENCES},
    )
    expected = {f"mini@1.{slot.name}" for slot in exported.served_slots}
    assert {file.parent.name for file in tmp_path.glob("*/config.pbtxt")} == expected
    # Triton does not load a model without a folder of a version, even one without files.
    assert {folder.parent.name for folder in tmp_path.glob("*/1") if folder.is_dir()} == expected
    for slot, file in exported.models.items():
        text = (tmp_path / f"mini@1.{slot}" / "config.pbtxt").read_text()
        config: Any = text_format.Parse(text, MESSAGES.ModelConfig())
        assert config.parameters["FILE_SHA256"].string_value == file.file_sha256


@pytest.mark.parametrize("signature", BY_NAME)
def test_config_has_the_names_types_and_shapes_of_the_signature(signature: ModelSignature) -> None:
    config = read_config(signature.name)
    batched = signature.max_batch_size > 0
    assert config.name == f"some-name_2@13.{signature.name}"
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
        # Triton leaves out a warm-up without one, also where a model takes no batches.
        assert warmup.batch_size >= 1


def test_the_hash_of_the_file_is_a_parameter_that_the_server_reports() -> None:
    config = read_config("fusion", file_sha256="ab12")
    assert config.parameters["FILE_SHA256"].string_value == "ab12"
    assert config.parameters["INTRA_OP_THREAD_COUNT"].string_value == "1"
    assert "FILE_SHA256" not in read_config("fusion").parameters


def test_the_ensemble_without_voice_takes_voice_features_in_place_of_a_waveform() -> None:
    config = read_config(VALENCE_AROUSAL.name, has_voice=False)
    crops, _, _, mask = VALENCE_AROUSAL.inputs
    _, audio, _ = FUSION.inputs
    assert tensor_specs(config.input, batched=False) == [
        (crops.name, crops.data_type, crops.shape),
        ("audio", audio.data_type, audio.shape),
        (mask.name, mask.data_type, mask.shape),
    ]
    assert tensor_specs(config.output, batched=False) == [
        (one.name, one.data_type, one.shape) for one in VALENCE_AROUSAL.outputs
    ]


@pytest.mark.parametrize("has_voice", [True, False], ids=["with voice", "face only"])
def test_ensemble_connects_its_models_and_nothing_else(has_voice: bool) -> None:
    config = read_config(VALENCE_AROUSAL.name, has_voice=has_voice)
    models = [each for each in ENSEMBLE_MODELS if has_voice or each in (VISUAL_BACKBONE, FUSION)]
    steps = {step.model_name: step for step in config.ensemble_scheduling.step}
    assert set(steps) == {ESTIMATOR.part_name(signature.name) for signature in models}
    known = {one.name for one in config.input}
    for signature in models:
        step = steps[ESTIMATOR.part_name(signature.name)]
        assert set(step.input_map) == {one.name for one in signature.inputs}
        assert set(step.input_map.values()) <= known
        known |= set(step.output_map.values())
    assert {one.name for one in config.output} <= known
