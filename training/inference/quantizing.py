"""Quantisation of a fused network's large layers, to ranges measured on sample inputs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Final, cast

import torch
from torch import Tensor, fx, nn

from training.inference.quantized_layers import (
    AffineStep,
    InputRange,
    build_quantized,
    is_quantizable,
)

_COVERAGE: Final = 0.99999
"""Share of a layer's inputs between the ends of its range; the rest is clipped."""
_MAX_VALUES: Final = 1_000_000
"""Values of one layer and batch that the share is taken of, evenly spaced."""


def quantize_layers(fused: fx.GraphModule, samples: Iterable[Tensor]) -> fx.GraphModule:
    """Replace the large layers of a fused network in place by layers in 8-bit integers.

    Args: samples: batches of the network's inputs, of which each layer's range is measured.
    """
    modules = dict(cast("Iterable[tuple[str, nn.Module]]", fused.named_modules()))
    ranges = _measure_ranges(fused, samples)
    for node in list(fused.graph.nodes):
        layer = modules.get(str(node.target)) if node.op == "call_module" else None
        if layer is None or not is_quantizable(layer):
            continue
        before = _absorb_norm(node, modules)
        fused.set_submodule(
            str(node.target), build_quantized(layer, ranges[str(node.target)], before)
        )
    fused.graph.eliminate_dead_code()
    fused.delete_all_unused_submodules()
    fused.recompile()
    return fused


def _absorb_norm(node: fx.Node, modules: dict[str, nn.Module]) -> AffineStep | None:
    """Take a batch norm before a layer out of the graph; return what it computes."""
    before = node.all_input_nodes[0]
    norm = modules.get(str(before.target)) if before.op == "call_module" else None
    if not isinstance(norm, nn.BatchNorm2d):
        return None
    node.replace_input_with(before, before.all_input_nodes[0])
    return AffineStep.of_norm(norm)


@torch.inference_mode()
def _measure_ranges(fused: fx.GraphModule, samples: Iterable[Tensor]) -> dict[str, InputRange]:
    ends: dict[str, list[Tensor]] = {}
    hooks: list[Any] = []
    for name, layer in cast("Iterable[tuple[str, nn.Module]]", fused.named_modules()):
        if is_quantizable(layer):
            ends[name] = []
            hooks.append(layer.register_forward_pre_hook(partial(_record_ends, ends[name])))
    for batch in samples:
        fused(batch)
    for hook in hooks:
        hook.remove()
    return {
        name: InputRange(
            low=float(torch.stack(seen)[:, 0].min()), high=float(torch.stack(seen)[:, 1].max())
        )
        for name, seen in ends.items()
    }


def _record_ends(seen: list[Tensor], _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    seen.append(_find_ends(inputs[0]))


def _find_ends(values: Tensor) -> Tensor:
    """Return the ends of the range that holds most values, (2,)."""
    flat = values.flatten()
    flat = flat[:: -(-len(flat) // _MAX_VALUES)]
    return torch.quantile(flat, torch.tensor([1 - _COVERAGE, _COVERAGE]))
