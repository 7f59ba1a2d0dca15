"""Caveats of results that follow from the weights with which they are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from service.domain.media import Flag

DRAWN: Final = "drawn"
"""Domain of weights that have learnt from drawings only."""


def find_weight_flags(provenance: Mapping[str, Any]) -> frozenset[Flag]:
    """Caveats of every result with this provenance, by its `domain`."""
    return frozenset({Flag.DRAWN_WEIGHTS} if provenance.get("domain") == DRAWN else ())
