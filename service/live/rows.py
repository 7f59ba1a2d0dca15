"""The frames of one stream that are under way."""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.arrays import Bytes, Floats
from service.live.finals import Sent


@dataclass(slots=True, kw_only=True)
class Row:
    """A frame, the (N, 3, 112, 112) crops of its faces, and what the backbones make of it."""

    sent: Sent
    crops: Bytes
    faces: Floats | None = None
    """(N, 512)."""
    voice: Floats | None = None
    """(128,)."""
