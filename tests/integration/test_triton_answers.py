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

from service.domain.signatures import LIVE_FRAMES, SCRIPTED, SERVED, VALENCE_AROUSAL
from service.embedded.triton import TritonPorts, run_triton
from tests.conftest import SEED
from training.export import load
from training.presets import PRESETS, build_networks
from training.serving import serve

FRAMES = 9
TOLERANCE = 1e-5
"""Another order of the same float32 sums: folded batch norms, another memory layout."""


@dataclass(frozen=True)
class Served:
    """A preset behind a running Triton, and the same one in this process."""

    client: InferenceServerClient
    eager: dict[str, nn.Module]
    scripted: dict[str, nn.Module]


@pytest.fixture(scope="module", params=["mini", "paper"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
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


def _serve(preset: str, repository: Path, ports: TritonPorts) -> Iterator[Served]:
    with InferenceServerClient(ports.grpc_url) as client:
        yield Served(
            client=client,
            eager=serve(build_networks(PRESETS[preset], SEED)),
            scripted={one.name: load(repository / one.name / "1/model.pt") for one in SCRIPTED},
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


def streams(visual: np.ndarray, audio: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """The clip as the end of one stream and the start of another, padded in front."""
    return tuple(
        np.stack([padded(part, LIVE_FRAMES - len(part)), padded(part[:4], LIVE_FRAMES - 4)])
        for part in (visual, audio, mask)
    )


def padded(part: np.ndarray, missing: int) -> np.ndarray:
    return np.concatenate([np.zeros((missing, *part.shape[1:]), part.dtype), part])


def ask(client: InferenceServerClient, model: str, *arrays: np.ndarray) -> list[np.ndarray]:
    signature = next(one for one in SERVED if one.name == model)
    inputs = []
    for tensor, array in zip(signature.inputs, arrays, strict=True):
        inputs.append(InferInput(tensor.name, list(array.shape), np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    answer = client.infer(model, inputs)
    return [answer.as_numpy(tensor.name) for tensor in signature.outputs]


@torch.inference_mode()
def call(models: dict[str, nn.Module], name: str, *arrays: np.ndarray) -> list[np.ndarray]:
    answer = models[name](*(torch.from_numpy(array) for array in arrays))
    return [one.numpy() for one in ([answer] if isinstance(answer, torch.Tensor) else answer)]


def test_eager_exported_and_served_models_agree(
    served: Served, clip: dict[str, np.ndarray]
) -> None:
    [visual] = call(served.eager, "visual_backbone", clip["crops"])
    [patches] = call(served.eager, "log_mel", clip["waveform"], clip["patch_starts"])
    [audio] = call(served.eager, "audio_backbone", patches)
    arrays = {
        "visual_backbone": (clip["crops"],),
        "live_visual_backbone": (clip["crops"],),
        "log_mel": (clip["waveform"], clip["patch_starts"]),
        "audio_backbone": (patches,),
        "fusion": (visual, audio, clip["mask"]),
        "live_fusion": streams(visual, audio, clip["mask"]),
    }
    for model, inputs in arrays.items():
        eager = call(served.eager, model, *inputs)
        for others in (partial(call, served.scripted), partial(ask, served.client)):
            for expected, actual in zip(eager, others(model, *inputs), strict=True):
                np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


def test_the_ensemble_is_its_parts_in_a_row(served: Served, clip: dict[str, np.ndarray]) -> None:
    [visual] = call(served.eager, "visual_backbone", clip["crops"])
    [patches] = call(served.eager, "log_mel", clip["waveform"], clip["patch_starts"])
    [audio] = call(served.eager, "audio_backbone", patches)
    parts = call(served.eager, "fusion", visual, audio, clip["mask"])
    whole = ask(served.client, VALENCE_AROUSAL.name, *clip.values())
    for expected, actual in zip(parts, whole, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)
