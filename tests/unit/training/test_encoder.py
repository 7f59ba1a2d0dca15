"""Transformer encoder: direction and distance of attention, masks."""

from __future__ import annotations

import torch

from training.export import script_model
from training.networks.encoder import DistanceBias, Encoder, EncoderConfig
from training.presets import MINI, build_networks
from training.serving import ServedFusion


def test_attention_heads_are_directional_and_decay_with_distance() -> None:
    near = DistanceBias(4)(torch.zeros(1, 4, 30, 30))[0].softmax(dim=-1)
    for head, weights in enumerate(near):
        looks_back = head % 2 == 0
        assert torch.equal(weights, weights.tril() if looks_back else weights.triu())
        row = weights[15, :16].flip(0) if looks_back else weights[15, 15:]
        reach = 8.0 if head < 2 else 64.0
        torch.testing.assert_close(
            row[1:] / row[:-1], torch.full((len(row) - 1,), -1 / reach).exp()
        )


def test_directed_encoder_depends_on_frame_order() -> None:
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # untyped seed
    frames = torch.randn(1, 40, 6)
    mask = torch.ones(1, 40, dtype=torch.bool)
    for directed in (False, True):
        encoder = Encoder(6, EncoderConfig(width=8, layers=1, directed=directed)).eval()
        forward, backward = encoder(frames, mask), encoder(frames.flip(1), mask).flip(1)
        assert torch.allclose(forward, backward, atol=1e-5) is not directed


def test_masked_frames_have_no_influence_on_directed_heads() -> None:
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # untyped seed
    encoder = Encoder(6, EncoderConfig(width=8, layers=2, directed=True)).eval()
    frames = torch.randn(1, 20, 6)
    mask = torch.ones(1, 20, dtype=torch.bool)
    mask[0, :4] = mask[0, 15:] = False
    other = frames.clone()
    other[~mask] = 1e6
    torch.testing.assert_close(encoder(frames, mask)[mask], encoder(other, mask)[mask])
    assert encoder(frames, torch.zeros_like(mask)).isfinite().all()


def test_directed_fusion_is_scripted_as_it_is_for_any_length() -> None:
    fusion = ServedFusion(build_networks(MINI, seed=0).fusion).eval()
    scripted = script_model(fusion)
    for length in (1, 37, 300):
        inputs = torch.randn(length, 512), torch.randn(length, 128), torch.ones(length).bool()
        for eager, served in zip(fusion(*inputs), scripted(*inputs), strict=True):
            torch.testing.assert_close(eager, served, atol=1e-6, rtol=0)
