"""Outputs of a published expression network: scores of eight classes, valence and arousal."""

from __future__ import annotations

from typing import Final

CLASS_COUNT: Final = 8
HEAD_OUTPUTS: Final = CLASS_COUNT + 2
"""Scores of the classes before the softmax, then valence and arousal."""
