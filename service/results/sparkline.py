"""A column as one line of text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

BLOCKS: Final = "▁▂▃▄▅▆▇█"
GAP: Final = "·"


def draw_sparkline(values: Sequence[float | None], width: int) -> str:
    """Draw values of [-1, 1] in `width` characters; a dot is a stretch without any value.

    The scale is fixed, so lines of several clips compare: ▁ is -1, █ is 1.
    """
    if not values or width < 1:
        return ""
    columns = min(width, len(values))
    edges = [round(k * len(values) / columns) for k in range(columns + 1)]
    return "".join(_choose_block(values[start:end]) for start, end in pairwise(edges))


def _choose_block(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return GAP
    level = (sum(known) / len(known) + 1) / 2
    return BLOCKS[min(max(int(level * len(BLOCKS)), 0), len(BLOCKS) - 1)]
