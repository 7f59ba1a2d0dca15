"""Precision that the backbones of an export compute in."""

from __future__ import annotations

from enum import StrEnum

import torch


class Precision(StrEnum):
    """Number format of weights and maps; sums within a kernel are float32 in both."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"

    @property
    def dtype(self) -> torch.dtype:
        """As PyTorch's type."""
        return torch.bfloat16 if self is Precision.BFLOAT16 else torch.float32

    @property
    def is_native(self) -> bool:
        """True if this processor multiplies such numbers by an instruction of its own."""
        capabilities = torch.cpu.get_capabilities()
        has_bfloat16 = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
        return self is Precision.FLOAT32 or has_bfloat16
