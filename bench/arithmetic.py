"""Processor's own limits: products of matrices by precision, and copies of memory."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import torch

from bench.cost import (
    Work,
    measure_in_turns,
    median_costs,
    significant,
    timed,
)
from bench.network_stages import torch_threads

_SIDE: Final = 1024
_COPIED_BYTES: Final = 64 * 2**20
"""More than the caches hold."""
_SECONDS: Final = 1.5


def name_processor() -> str:
    """Name the kind of this processor by its maker and the instructions that PyTorch uses."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    makers = [line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")]
    return (
        f"{makers[0] if makers else platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    )


def measure_processor(cores: int) -> dict[str, Any]:
    """Measure rates of one thread, and of as many as there are cores."""
    return {
        "one_thread": _measure_rates(1),
        "all_cores": _measure_rates(cores),
    }


def _prepare_product(b: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Product with a matrix by oneDNN, which is twice as fast as torch.mm on AMD."""
    onednn = cast("Any", torch.ops).mkldnn
    weights = onednn._reorder_linear_weight(b, _SIDE)  # noqa: SLF001 - no public name
    linear = onednn._linear_pointwise  # noqa: SLF001 - no public name
    return lambda a: linear(a, weights, None, "none", [], "")


def _measure_rates(threads: int) -> dict[str, float]:
    """Rates in 10^9 operations (a product and its sum are two) and 10^9 copied bytes a second."""
    products = {name: timed(work) for name, work in _list_products().items()}
    with torch_threads(threads):
        costs = median_costs(measure_in_turns(products, seconds=_SECONDS))
    sizes = dict.fromkeys(products, 2 * _SIDE**3) | {"copy": _COPIED_BYTES}
    return {
        # one thread by its CPU time: other load does not count
        name: significant(
            sizes[name] / (cost.cpu_seconds if threads == 1 else cost.wall_seconds) / 1e9
        )
        for name, cost in costs.items()
    }


def _list_products() -> dict[str, Work]:
    a, b = torch.randn(_SIDE, _SIDE), torch.randn(_SIDE, _SIDE)
    low = a.bfloat16(), b.bfloat16()
    whole = a.mul(16).to(torch.int8), b.mul(16).to(torch.int8)
    source = torch.ones(_COPIED_BYTES, dtype=torch.uint8)
    target = torch.zeros_like(source)
    multiply_fp32 = _prepare_product(b)
    multiply_int8 = cast("Any", torch)._int_mm  # noqa: SLF001 - the only product of int8 matrices
    return {
        "fp32_mm": lambda: _once(torch.mm(a, b)),
        "fp32": lambda: _once(multiply_fp32(a)),
        "bf16": lambda: _once(torch.mm(*low)),
        "int8": lambda: _once(multiply_int8(*whole)),
        "copy": lambda: _once(target.copy_(source)),
    }


def _once(_: torch.Tensor) -> int:
    return 1
