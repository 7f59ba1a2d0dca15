"""Batches of concurrent clients, repeatable results, and requests that Triton rejects."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.model_signatures import SERVED_MODELS
from service.embedded.triton import TritonPorts
from tests.integration.test_triton_parity import infer
from tests.integration.triton_models import MINI


@pytest.fixture(scope="module")
def client(triton_server: TritonPorts) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(triton_server.grpc_url) as client:
        yield client


def test_every_model_is_ready(client: InferenceServerClient) -> None:
    assert client.is_server_ready()
    for signature in SERVED_MODELS:
        assert client.is_model_ready(MINI.part_name(signature.name))


def test_batched_clips_give_the_same_bits_as_single_ones(
    client: InferenceServerClient,
) -> None:
    random = np.random.default_rng(1)
    crops = [
        random.integers(0, 256, (size, 3, 112, 112), dtype=np.uint8)
        for size in (1, 2, 3, 7, 16, 31, 32, 33)
    ]

    def embed(clip: UInt8Array) -> Float32Array:
        return infer(client, MINI, "visual_backbone", clip)[0]

    alone = [embed(clip) for clip in crops]
    with ThreadPoolExecutor(len(crops)) as callers:
        together = list(callers.map(embed, crops))
    statistics = client.get_inference_statistics(MINI.part_name("visual_backbone")).model_stats[0]
    assert statistics.execution_count < statistics.inference_stats.success.count
    for expected, actual in zip(alone, together, strict=True):
        assert np.array_equal(expected, actual)


def test_repeated_requests_give_the_same_bits(client: InferenceServerClient) -> None:
    random = np.random.default_rng(2)
    window = (
        random.normal(size=(300, 512)).astype(np.float32),
        random.normal(size=(300, 128)).astype(np.float32),
        np.arange(300) < 250,
    )
    first, again = (infer(client, MINI, "fusion", *window) for _ in range(2))
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))


def test_a_batch_above_the_limit_is_rejected(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="batch-size must be <= 512"):
        infer(client, MINI, "audio_backbone", np.zeros((513, 96, 64), np.float32))


def test_an_input_of_another_type_is_rejected(client: InferenceServerClient) -> None:
    wrong = InferInput("INPUT__0", [1, 96, 64], "FP64")
    wrong.set_data_from_numpy(np.zeros((1, 96, 64)))
    with pytest.raises(InferenceServerException, match="data-type"):
        client.infer(MINI.part_name("audio_backbone"), [wrong])


def test_an_error_inside_a_model_is_returned_and_the_model_stays_usable(
    client: InferenceServerClient,
) -> None:
    waveform = np.zeros(16_000, np.float32)
    with pytest.raises(InferenceServerException, match="PyTorch execute failure"):
        infer(client, MINI, "log_mel", waveform, np.array([-1_000]))
    [patches] = infer(client, MINI, "log_mel", waveform, np.array([0]))
    assert patches.shape == (1, 96, 64)
