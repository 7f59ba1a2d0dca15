"""Served backbones: batch independence, inputs, scaling."""

from __future__ import annotations

import pytest
import torch

from training.export import script_model
from training.presets import MINI, build_networks
from training.serving import build_served_models

SIZES = (1, 2, 3, 7, 16, 31, 32, 33, 64)


@pytest.fixture(scope="module")
def served_models() -> dict[str, torch.jit.ScriptModule]:
    return {
        name: script_model(model)
        for name, model in build_served_models(build_networks(MINI, seed=0)).items()
    }


def batch(name: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    if name == "visual_backbone":
        return torch.randint(0, 256, (64, 3, 112, 112), dtype=torch.uint8, generator=generator)
    return torch.randn(64, 96, 64, generator=generator)


@pytest.mark.parametrize("name", ["visual_backbone", "audio_backbone"])
@torch.inference_mode()
def test_an_embedding_is_bit_identical_in_every_batch(
    served_models: dict[str, torch.jit.ScriptModule], name: str
) -> None:
    items, generator = batch(name), torch.Generator().manual_seed(3)
    alone = torch.cat([served_models[name](item[None]) for item in items])
    for size in SIZES:
        indices = torch.randperm(64, generator=generator)[:size]
        assert torch.equal(alone[indices], served_models[name](items[indices])), size


@torch.inference_mode()
def test_inputs_are_not_modified(served_models: dict[str, torch.jit.ScriptModule]) -> None:
    crops = batch("visual_backbone")[:5]
    before = crops.clone()
    served_models["visual_backbone"](crops)
    assert torch.equal(before, crops)


@torch.inference_mode()
def test_crops_are_scaled_to_plus_minus_one(
    served_models: dict[str, torch.jit.ScriptModule],
) -> None:
    crops = batch("visual_backbone")[:4]
    network = build_networks(MINI, seed=0).visual
    expected = network((crops.float() / 255 - 0.5) / 0.5)
    # another memory layout and folded batch norms
    torch.testing.assert_close(served_models["visual_backbone"](crops), expected, rtol=0, atol=1e-5)
