"""The frames of one stream that are under way."""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.arrays import Float32Array, UInt8Array
from service.live.finals import FrameArrival


@dataclass(slots=True, kw_only=True)
class FrameRow:
    """A frame, the (N, 3, 112, 112) crops of its faces, and what the backbones make of it."""

    arrival: FrameArrival
    crops: UInt8Array
    faces: Float32Array | None = None
    """(N, 512)."""
    voice: Float32Array | None = None
    """(128,)."""
