"""Networks alone: the exported files on this processor, as Triton's CPU backend runs them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.cost import FrameCost, Measurement, measure_in_turns, median_costs, significant, timed
from service.domain.audio_grid import HOP_SAMPLES, PATCH_SAMPLES
from service.domain.model_signatures import (
    AUDIO_BACKBONE,
    CROP_SIDE,
    FACE_FEATURES,
    FUSION,
    LOG_MEL,
    VISUAL_BACKBONE,
    VOICE_FEATURES,
)
from service.estimators.repository import EstimatorRepository
from service.pipeline.estimators import read_default_manifest
from service.settings import Settings
from training.export import load_model
from training.presets import Networks

Inputs = tuple[torch.Tensor, ...]

_CLIP_SLOTS: Final = tuple(each.name for each in (VISUAL_BACKBONE, LOG_MEL, AUDIO_BACKBONE, FUSION))
BATCHES: Final = (1, 8, 32, 128)
_FRAME_HOPS: Final = 4
"""Hops from frame to frame, at 25 frames a second."""
_jit = cast("Any", torch.jit)  # has no types


def list_network_calls(settings: Settings, frames: int | None = None) -> dict[str, Measurement]:
    """One call of each network of the default model, on a chunk of frames or one window."""
    return {
        slot: make_call(load_slot(settings, slot), *make_inputs(slot, settings, frames))
        for slot in list_slots(settings)
    }


def list_plain_calls(
    networks: Networks, settings: Settings, frames: int | None = None
) -> dict[str, Measurement]:
    """One call of each network as plain eager PyTorch in float32."""
    calls: dict[str, Measurement] = {}
    for slot, module in _list_modules(networks).items():
        inputs, count = make_inputs(slot, settings, frames)
        calls[slot] = make_call(module, _to_plain_inputs(slot, inputs), count)
    return calls


def _list_modules(networks: Networks) -> dict[str, torch.nn.Module]:
    return {
        VISUAL_BACKBONE.name: networks.visual,
        LOG_MEL.name: networks.log_mel,
        AUDIO_BACKBONE.name: networks.audio,
        FUSION.name: networks.fusion,
    }


def _to_plain_inputs(slot: str, inputs: Inputs) -> Inputs:
    """Inputs of a plain network: crops scaled, windows with a batch dimension."""
    if slot == VISUAL_BACKBONE.name:
        return (inputs[0].float() / 127.5 - 1,)
    if slot == FUSION.name:
        return tuple(each.unsqueeze(0) for each in inputs)
    return inputs


def list_slots(settings: Settings) -> list[str]:
    """Networks that clips go through: those of the default model."""
    models = read_default_manifest(settings).models
    return [slot for slot in _CLIP_SLOTS if slot in models]


def load_slot(settings: Settings, slot: str) -> torch.nn.Module:
    """Load an exported file of the default model."""
    repository = EstimatorRepository(settings.model_repository)
    return load_model(repository.model_file(read_default_manifest(settings).id, slot))


def make_inputs(slot: str, settings: Settings, frames: int | None = None) -> tuple[Inputs, int]:
    """Inputs of a call as clips make them, and the number of frames of a clip that it serves.

    Args: frames: of the batch; default: a chunk. A window of the fusion has its own length, and
        serves only the frames up to the next window.
    """
    count = frames or settings.chunk_frames
    if slot == VISUAL_BACKBONE.name:
        crops = torch.randint(0, 256, (count, 3, CROP_SIDE, CROP_SIDE), dtype=torch.uint8)
        return (crops,), count
    if slot == AUDIO_BACKBONE.name:
        return (torch.randn(count, 96, 64),), count
    if slot == LOG_MEL.name:
        starts = _FRAME_HOPS * torch.arange(count)
        samples = int(starts[-1]) * HOP_SAMPLES + PATCH_SAMPLES
        return (torch.randn(samples + HOP_SAMPLES), starts), count
    window = settings.window_frames
    features = (torch.randn(window, FACE_FEATURES), torch.randn(window, VOICE_FEATURES))
    return (*features, torch.ones(window, dtype=torch.bool)), settings.hop_frames


def make_call(network: torch.nn.Module, inputs: Inputs, frames: int) -> Measurement:
    """Measurement of one call of a network, as the CPU backend makes it."""

    def call() -> int:
        with torch.inference_mode(), _jit.optimized_execution(False):
            network(*inputs)
        return frames

    return timed(call)


@contextmanager
def torch_threads(threads: int) -> Generator[None]:
    """Set the number of torch's threads within the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def sweep_batches(settings: Settings, *, seconds: float) -> dict[str, dict[int, FrameCost]]:
    """Costs of the backbones by batch size, on one thread."""
    costs: dict[str, dict[int, FrameCost]] = {}
    for slot in list_slots(settings):
        if slot not in (VISUAL_BACKBONE.name, AUDIO_BACKBONE.name):
            continue
        network = load_slot(settings, slot)
        calls = {
            str(batch): make_call(network, *make_inputs(slot, settings, batch)) for batch in BATCHES
        }
        found = median_costs(measure_in_turns(calls, seconds=seconds))
        costs[slot] = {int(batch): cost for batch, cost in found.items()}
    return costs


def count_mflop(networks: Networks, settings: Settings) -> dict[str, float]:
    """Million floating-point operations per frame by network; a product and its sum are two."""
    counts: dict[str, float] = {}
    for slot, module in _list_modules(networks).items():
        inputs, frames = make_inputs(slot, settings)
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            module(*_to_plain_inputs(slot, inputs))
        counts[slot] = significant(counter.get_total_flops() / frames / 1e6)
    return counts
