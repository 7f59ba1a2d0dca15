"""Layers in 8-bit integers: nearness to the network, batch independence, refusals, the manifest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from service.domain.estimator import EstimatorId, EstimatorManifest
from service.estimators.repository import EstimatorRepository
from tests.unit.training.toy_dataset import TOY_RECORDINGS, write_dataset
from training.data.calibration_data import read_samples
from training.export import ExportTarget, export_untrained, hash_weights, load_model
from training.inference.calibration_samples import CalibrationSamples
from training.inference.fused_layers import FusedConvolution, FusedLinear
from training.inference.precision import Precision
from training.inference.quantized_layers import (
    AffineStep,
    InputRange,
    QuantizedConvolution,
    QuantizedLinear,
)
from training.presets import MINI, build_networks
from training.serving import build_served_models

pytestmark = pytest.mark.skipif(
    not Precision.INT8.is_native, reason="the processor multiplies no 8-bit integers"
)
STEP = 8.0 / 255
"""Between two levels of the inputs below."""


def draw_samples() -> CalibrationSamples:
    generator = torch.Generator().manual_seed(1)
    crops = torch.randint(0, 256, (24, 3, 112, 112), dtype=torch.uint8, generator=generator)
    return CalibrationSamples(crops=crops, patches=torch.randn(24, 96, 64, generator=generator))


@torch.inference_mode()
def test_a_convolution_pads_with_zero_after_the_step_before_it() -> None:
    convolution, norm = nn.Conv2d(16, 8, 3, padding=1), nn.BatchNorm2d(16)
    norm(torch.randn(8, 16, 9, 9) * 3 + 1)
    norm.eval()
    layer = QuantizedConvolution(
        FusedConvolution(convolution, "none"),
        InputRange(low=-4.0, high=4.0),
        AffineStep.of_norm(norm),
    )
    x = torch.randn(2, 16, 9, 9) * 2
    expected = convolution(norm(x).clamp(-4.0, 4.0))
    outputs = layer(x)
    reference = layer.convolve_rounded(layer.quantize(x))
    torch.testing.assert_close(outputs, reference, rtol=0, atol=1e-5)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=2 * STEP)


@torch.inference_mode()
def test_a_linear_layer_is_near_the_exact_one() -> None:
    linear, x = nn.Linear(1024, 8), torch.rand(3, 1024) * 4
    layer = QuantizedLinear(FusedLinear(linear, "relu"), InputRange(low=0.0, high=4.0))
    torch.testing.assert_close(layer(x), linear(x).relu(), rtol=0, atol=2 * STEP)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EstimatorManifest]:
    repository = tmp_path_factory.mktemp("repository")
    target = ExportTarget(
        repository=repository,
        estimator=EstimatorId("mini", 1),
        precision=Precision.INT8,
        samples=draw_samples(),
    )
    return repository, export_untrained(MINI, target, seed=0)


@pytest.mark.parametrize("name", ["visual_backbone", "audio_backbone"])
@torch.inference_mode()
def test_an_exported_backbone_is_near_and_bit_identical_in_every_batch(
    exported: tuple[Path, EstimatorManifest], name: str
) -> None:
    repository, manifest = exported
    served = load_model(EstimatorRepository(repository).model_file(manifest.id, name))
    samples = draw_samples()
    items = (samples.crops if name == "visual_backbone" else samples.patches)[:11]
    embeddings = served(items)
    assert torch.equal(torch.cat([served(item[None]) for item in items]), embeddings)
    assert torch.equal(served(items[[4, 9, 2]]), embeddings[[4, 9, 2]])
    plain = build_served_models(build_networks(MINI, seed=0))[name]
    similarity = nn.functional.cosine_similarity(plain(items), embeddings)
    assert 0.99 < similarity.min() < 1 - 1e-6  # not the same: it is quantised


def test_the_manifest_names_the_precision_and_the_samples(
    exported: tuple[Path, EstimatorManifest],
) -> None:
    _, manifest = exported
    computation = manifest.document["computation"]
    assert computation["precision"] == "int8"
    assert computation["samples_sha256"] == draw_samples().compute_digest()
    plain = build_served_models(build_networks(MINI, seed=0))["visual_backbone"]
    assert manifest.models["visual_backbone"].weights_sha256 == hash_weights(plain)


def test_int8_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="calibrated"):
        build_served_models(build_networks(MINI, seed=0), Precision.INT8)


def test_samples_are_read_from_a_data_set(tmp_path: Path) -> None:
    samples = read_samples(write_dataset(tmp_path, (TOY_RECORDINGS[0], TOY_RECORDINGS[8])))
    assert samples.crops.shape == (16, 3, 112, 112)
    assert samples.patches.shape == (16, 96, 64)
    assert samples.crops.float().std() > 0
