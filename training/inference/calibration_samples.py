"""Sample inputs of the backbones, of which an int8 export measures the ranges of its layers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSamples:
    """Crops, (N, 3, 112, 112) uint8 RGB, and log-mel patches, (M, 96, 64) float32."""

    crops: Tensor
    patches: Tensor

    def compute_digest(self) -> str:
        """Hash all samples."""
        digest = hashlib.sha256()
        for values in (self.crops, self.patches):
            digest.update(values.contiguous().numpy().tobytes())
        return digest.hexdigest()
