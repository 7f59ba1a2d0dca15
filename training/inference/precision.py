"""Precision that the backbones of an export compute in."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import torch


class Precision(StrEnum):
    """Number format of weights and maps.

    Sums within a kernel are float32, of int8 exact integers. int8 is for the large layers' inputs
    and weights; the maps between them are float32.
    """

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"

    @property
    def dtype(self) -> torch.dtype:
        """Type of the maps, PyTorch's."""
        return torch.bfloat16 if self is Precision.BFLOAT16 else torch.float32

    @property
    def is_native(self) -> bool:
        """True if this processor multiplies such numbers by an instruction of its own."""
        capabilities = torch.cpu.get_capabilities()
        names = _INSTRUCTIONS.get(self, ())
        return self is Precision.FLOAT32 or any(capabilities.get(name) for name in names)


_INSTRUCTIONS: Final = {
    Precision.BFLOAT16: ("avx512_bf16", "amx_bf16"),
    Precision.INT8: ("avx512_vnni", "amx_int8"),
}
