"""One set of weights three ways: eager networks, exported files, a real Triton. Both presets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import np_to_triton_dtype

from service.domain.model_signatures import (
    EXPORTED_MODELS,
    LIVE_WINDOW_FRAMES,
    SERVED_MODELS,
    VALENCE_AROUSAL,
)
from service.embedded.triton import TritonPorts, run_triton
from tests.conftest import SEED
from training.export import load_model
from training.presets import PRESETS, build_networks
from training.serving import build_served_models

FRAMES = 9
TOLERANCE = 1e-5
"""Another order of the same float32 sums: folded batch norms, another memory layout."""


@dataclass(frozen=True)
class ServedPreset:
    """A preset behind a running Triton, and the same one in this process."""

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
        yield ServedPreset(
            client=client,
            eager=build_served_models(build_networks(PRESETS[preset], SEED)),
            scripted={
                one.name: load_model(repository / one.name / "1/model.pt")
                for one in EXPORTED_MODELS
            },
        )


@pytest.fixture(scope="module")
def clip() -> dict[str, np.ndarray]:
    """Crops and sound of a few frames at 25 a second; two of them padding."""
    random = np.random.default_rng(0)
    mask = np.ones(FRAMES, np.bool_)
    mask[-2:] = False
    return {
        "crops": random.integers(0, 256, (FRAMES, 3, 112, 112), dtype=np.uint8),
        "waveform": random.normal(0, 0.1, 22_000).astype(np.float32),
        "patch_starts": 4 * np.arange(FRAMES),
        "mask": mask,
    }


def as_streams(visual: np.ndarray, audio: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """The clip as the end of one stream and the start of another, padded in front."""
    return tuple(
        np.stack(
            [
                pad_front(part, LIVE_WINDOW_FRAMES - len(part)),
                pad_front(part[:4], LIVE_WINDOW_FRAMES - 4),
            ]
        )
        for part in (visual, audio, mask)
    )


def pad_front(part: np.ndarray, missing: int) -> np.ndarray:
    return np.concatenate([np.zeros((missing, *part.shape[1:]), part.dtype), part])


def infer(client: InferenceServerClient, model: str, *arrays: np.ndarray) -> list[np.ndarray]:
    signature = next(one for one in SERVED_MODELS if one.name == model)
    inputs = []
    for tensor, array in zip(signature.inputs, arrays, strict=True):
        inputs.append(InferInput(tensor.name, list(array.shape), np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    answer = client.infer(model, inputs)
    return [answer.as_numpy(tensor.name) for tensor in signature.outputs]


@torch.inference_mode()
def run_local(models: dict[str, nn.Module], name: str, *arrays: np.ndarray) -> list[np.ndarray]:
    answer = models[name](*(torch.from_numpy(array) for array in arrays))
    return [one.numpy() for one in ([answer] if isinstance(answer, torch.Tensor) else answer)]


def test_eager_exported_and_served_models_agree(
    preset_under_test: ServedPreset, clip: dict[str, np.ndarray]
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
            partial(infer, preset_under_test.client),
        ):
            for expected, actual in zip(eager, others(model, *inputs), strict=True):
                np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


def test_the_ensemble_equals_its_chained_models(
    preset_under_test: ServedPreset, clip: dict[str, np.ndarray]
) -> None:
    [visual] = run_local(preset_under_test.eager, "visual_backbone", clip["crops"])
    [patches] = run_local(
        preset_under_test.eager, "log_mel", clip["waveform"], clip["patch_starts"]
    )
    [audio] = run_local(preset_under_test.eager, "audio_backbone", patches)
    parts = run_local(preset_under_test.eager, "fusion", visual, audio, clip["mask"])
    whole = infer(preset_under_test.client, VALENCE_AROUSAL.name, *clip.values())
    for expected, actual in zip(parts, whole, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)
