"""Fused layers: equality with the network, precision, the operators of other devices."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from service.domain.estimator import EstimatorId
from training.export import ExportTarget, export_untrained, hash_weights, script_model
from training.inference.fused_layers import FusedConvolution, FusedLinear, FusedSum
from training.inference.fusing import fuse_layers
from training.inference.precision import Precision
from training.presets import MINI, build_networks
from training.serving import ServedVisualBackbone

ROUNDING = 1e-5
"""Of sums in another order."""


class SmallNetwork(nn.Module):
    """A sum, activations, a batch norm and a grey input, as the served networks have them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1))
        self.swish = nn.Sequential(nn.Conv2d(8, 4, 1), nn.SiLU())
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.stem(x)
        maps = torch.relu(maps + self.deep(maps))
        return self.head(self.swish(maps).mean(dim=(2, 3)))


def make_network() -> SmallNetwork:
    network = SmallNetwork()
    network(torch.randn(16, 1, 12, 12))  # statistics of the batch norm
    return network.eval()


@torch.inference_mode()
def test_a_fused_network_computes_what_the_network_does() -> None:
    network, x = make_network(), torch.randn(5, 1, 12, 12)
    fused = fuse_layers(network)
    scripted = script_model(nn.Sequential(fused).eval())
    torch.testing.assert_close(scripted(x), network(x), rtol=0, atol=ROUNDING)
    kinds = [type(each) for each in fused.modules()]
    counts = [kinds.count(kind) for kind in (FusedConvolution, FusedSum, FusedLinear)]
    assert counts == [3, 1, 1]
    assert nn.BatchNorm2d not in kinds
    assert not fused.state_dict()


@pytest.mark.parametrize("activation", ["none", "relu", "swish"])
@torch.inference_mode()
def test_the_kernels_compute_what_the_operators_of_a_gpu_do(activation: str) -> None:
    convolution, x = nn.Conv2d(8, 8, 3, 2, 1), torch.randn(2, 8, 9, 9)
    fused = FusedConvolution(convolution, activation)
    torch.testing.assert_close(fused(x), fused.activate(fused.convolve(x)), rtol=0, atol=ROUNDING)


@torch.inference_mode()
def test_bfloat16_is_close_and_bit_identical_in_every_batch() -> None:
    network = build_networks(MINI, seed=0).visual
    crops = torch.randint(0, 256, (11, 3, 112, 112), dtype=torch.uint8)
    plain = ServedVisualBackbone(network).eval()
    coarse = ServedVisualBackbone(network, precision=torch.bfloat16).eval()
    assert hash_weights(plain) == hash_weights(coarse)
    embeddings = script_model(coarse)(crops)
    assert embeddings.dtype == torch.float32
    alone = torch.cat([coarse(crop[None]) for crop in crops])
    assert torch.equal(alone, embeddings)
    similarity = nn.functional.cosine_similarity(plain(crops), embeddings)
    assert similarity.min() > 0.999


def test_the_manifest_names_the_precision(tmp_path: Path) -> None:
    def export(precision: Precision) -> dict[str, str]:
        target = ExportTarget(
            repository=tmp_path, estimator=EstimatorId("mini", 1), precision=precision
        )
        return export_untrained(MINI, target, seed=0).document["computation"]

    assert export(Precision.FLOAT32)["precision"] == "float32"
    assert export(Precision.BFLOAT16)["precision"] == "bfloat16"
