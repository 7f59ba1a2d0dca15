"""IResNet: parameters, keys and shapes of the public weights."""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import nn

from training.networks.iresnet import IResNet, IResNetConfig
from training.networks.visual_architectures import build_visual_network
from training.presets import MINI

PAPER = IResNetConfig()
STEM = {"conv1", "bn1", "prelu"}


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_paper_backbone_has_the_parameters_of_iresnet_50() -> None:
    with torch.device("meta"):
        network = IResNet(PAPER)
    assert count(network) - count(network.attention) == 43_590_848


def test_without_attention_the_keys_are_those_of_the_public_weights() -> None:
    with torch.device("meta"):
        keys = list(IResNet(replace(PAPER, attention=False)).state_dict())
    assert len(keys) == 475
    public = re.compile(
        r"(conv1|bn1|prelu|bn2|fc|features"
        r"|layer[1-4]\.\d+\.(bn1|conv1|bn2|prelu|conv2|bn3|downsample\.[01]))"
        r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
    )
    assert [key for key in keys if not public.fullmatch(key)] == []


def test_attention_adds_only_its_own_keys() -> None:
    with torch.device("meta"):
        without = set(IResNet(replace(PAPER, attention=False)).state_dict())
        extra = set(IResNet(PAPER).state_dict()) - without
    assert extra == {key for key in extra if key.startswith("attention.")}


def test_embedding_layer_takes_512_maps_of_7_by_7() -> None:
    with torch.device("meta"):
        network = IResNet(PAPER)
    assert tuple(network.fc.weight.shape) == (512, 25_088)


def test_both_presets_embed_a_crop_in_512_numbers() -> None:
    for config in (PAPER, MINI.visual):
        with torch.device("meta"):
            embedding = build_visual_network(config).eval()(torch.empty(2, 3, 112, 112))
        assert tuple(embedding.shape) == (2, 512)
