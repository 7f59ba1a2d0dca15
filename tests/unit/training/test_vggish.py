"""VGGish: parameters, keys and layout of the public weights."""

from __future__ import annotations

from dataclasses import replace

import torch

from training.networks.vggish import Vggish, VggishConfig
from training.presets import MINI


def test_paper_backbone_has_the_parameters_and_keys_of_torchvggish() -> None:
    with torch.device("meta"):
        network = Vggish(VggishConfig())
    layers = [f"features.{index}" for index in (0, 3, 6, 8, 11, 13)]
    layers += [f"embeddings.{index}" for index in (0, 2, 4)]
    assert sum(parameter.numel() for parameter in network.parameters()) == 72_141_184
    assert [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")] == list(
        network.state_dict()
    )


def test_maps_are_flattened_height_then_width_then_channels() -> None:
    network = Vggish(MINI.audio).eval()
    patches = torch.randn(2, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps = network.features(patches.unsqueeze(1))
        flat = torch.stack(
            [
                torch.cat([one[:, row, column] for row in range(6) for column in range(4)])
                for one in maps
            ]
        )
        expected = network.embeddings(flat)
        actual = network(patches)
    assert torch.equal(expected, actual)


def test_final_relu_is_a_flag_without_weights() -> None:
    with torch.device("meta"):
        without = Vggish(VggishConfig())
        with_relu = Vggish(VggishConfig(final_relu=True))
    assert list(without.state_dict()) == list(with_relu.state_dict())
    network = Vggish(replace(MINI.audio, final_relu=True)).eval()
    assert network(torch.randn(4, 96, 64)).min() >= 0
