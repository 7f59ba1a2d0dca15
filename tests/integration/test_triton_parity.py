"""Parity of eager networks, exported files and a real Triton, for both presets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import np_to_triton_dtype

from service.domain.estimator import EstimatorId
from service.domain.model_signatures import (
    EXPORTED_MODELS,
    LIVE_WINDOW_FRAMES,
    SERVED_MODELS,
    VALENCE_AROUSAL,
)
from service.embedded.triton import TritonPorts, run_triton
from service.estimators.repository import EstimatorRepository
from tests.conftest import SEED
from training.export import load_model
from training.presets import PRESETS, build_networks
from training.serving import build_served_models

Array = npt.NDArray[Any]

FRAMES = 9
TOLERANCE = 1e-5
"""The same float32 sums in another order: folded batch norms, another memory layout."""


@dataclass(frozen=True)
class ServedPreset:
    """A preset served by a running Triton, and the same one in this process."""

    estimator: EstimatorId
    client: InferenceServerClient
    eager: dict[str, nn.Module]
    scripted: dict[str, nn.Module]


@pytest.fixture(scope="module", params=["mini", "paper"])
def preset_under_test(request: pytest.FixtureRequest) -> Iterator[ServedPreset]:
    preset = request.param
    if preset == "mini":
        ports = request.getfixturevalue("triton_server")
        yield from _serve(preset, request.getfixturevalue("mini_repository"), ports)
        return
    repository = request.getfixturevalue("paper_repository")
    logs = request.getfixturevalue("tmp_path_factory").mktemp("paper-triton")
    directory = request.getfixturevalue("triton_dir")
    with run_triton(server_dir=directory, repository=repository, logs_dir=logs) as ports:
        yield from _serve(preset, repository, ports)


def _serve(preset: str, repository: Path, ports: TritonPorts) -> Iterator[ServedPreset]:
    with InferenceServerClient(ports.grpc_url) as client:
        estimator = EstimatorId(preset, 1)
        models = EstimatorRepository(repository)
        yield ServedPreset(
            estimator=estimator,
            client=client,
            eager=build_served_models(build_networks(PRESETS[preset], SEED)),
            scripted={
                model.name: load_model(models.model_file(estimator, model.name))
                for model in EXPORTED_MODELS
            },
        )


@pytest.fixture(scope="module")
def clip() -> dict[str, Array]:
    """Crops and audio of a few frames at 25 a second; two of them padding."""
    random = np.random.default_rng(0)
    mask = np.ones(FRAMES, np.bool_)
    mask[-2:] = False
    return {
        "crops": random.integers(0, 256, (FRAMES, 3, 112, 112), dtype=np.uint8),
        "waveform": random.normal(0, 0.1, 22_000).astype(np.float32),
        "patch_starts": 4 * np.arange(FRAMES),
        "mask": mask,
    }


def as_streams(visual: Array, audio: Array, mask: Array) -> tuple[Array, ...]:
    """Two windows, padded in front: the whole clip, and its first four frames."""
    return tuple(
        np.stack(
            [
                pad_front(part, LIVE_WINDOW_FRAMES - len(part)),
                pad_front(part[:4], LIVE_WINDOW_FRAMES - 4),
            ]
        )
        for part in (visual, audio, mask)
    )


def pad_front(part: Array, missing: int) -> Array:
    return np.concatenate([np.zeros((missing, *part.shape[1:]), part.dtype), part])


def infer(
    client: InferenceServerClient, estimator: EstimatorId, slot: str, *arrays: Array
) -> list[Array]:
    signature = next(each for each in SERVED_MODELS if each.name == slot)
    inputs: list[InferInput] = []
    for tensor, array in zip(signature.inputs, arrays, strict=True):
        inputs.append(InferInput(tensor.name, array.shape, np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    result = client.infer(estimator.part_name(slot), inputs)
    outputs = [result.as_numpy(tensor.name) for tensor in signature.outputs]
    return [output for output in outputs if output is not None]


@torch.inference_mode()
def run_local(models: dict[str, nn.Module], name: str, *arrays: Array) -> list[Array]:
    outputs = models[name](*(torch.as_tensor(array) for array in arrays))
    return [each.numpy() for each in ([outputs] if isinstance(outputs, torch.Tensor) else outputs)]


def test_eager_exported_and_served_models_agree(
    preset_under_test: ServedPreset, clip: dict[str, Array]
) -> None:
    [visual] = run_local(preset_under_test.eager, "visual_backbone", clip["crops"])
    [patches] = run_local(
        preset_under_test.eager, "log_mel", clip["waveform"], clip["patch_starts"]
    )
    [audio] = run_local(preset_under_test.eager, "audio_backbone", patches)
    arrays = {
        "visual_backbone": (clip["crops"],),
        "live_visual_backbone": (clip["crops"],),
        "log_mel": (clip["waveform"], clip["patch_starts"]),
        "audio_backbone": (patches,),
        "fusion": (visual, audio, clip["mask"]),
        "live_fusion": as_streams(visual, audio, clip["mask"]),
    }
    for model, inputs in arrays.items():
        eager = run_local(preset_under_test.eager, model, *inputs)
        for others in (
            partial(run_local, preset_under_test.scripted),
            partial(infer, preset_under_test.client, preset_under_test.estimator),
        ):
            for expected, actual in zip(eager, others(model, *inputs), strict=True):
                np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


def test_the_ensemble_equals_its_chained_models(
    preset_under_test: ServedPreset, clip: dict[str, Array]
) -> None:
    [visual] = run_local(preset_under_test.eager, "visual_backbone", clip["crops"])
    [patches] = run_local(
        preset_under_test.eager, "log_mel", clip["waveform"], clip["patch_starts"]
    )
    [audio] = run_local(preset_under_test.eager, "audio_backbone", patches)
    parts = run_local(preset_under_test.eager, "fusion", visual, audio, clip["mask"])
    ensemble = infer(
        preset_under_test.client,
        preset_under_test.estimator,
        VALENCE_AROUSAL.name,
        *clip.values(),
    )
    for expected, actual in zip(parts, ensemble, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)
