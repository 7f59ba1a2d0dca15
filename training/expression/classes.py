"""Classes of expression in one order, and their places on the plane of valence and arousal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

CLASSES: Final = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "fear",
    "disgust",
)
"""Order of the probabilities of this estimator."""
PLACES: Final = {
    "neutral": (0.0, 0.0),
    "happiness": (0.81, 0.51),
    "surprise": (0.40, 0.67),
    "sadness": (-0.63, -0.27),
    "anger": (-0.51, 0.59),
    "fear": (-0.64, 0.60),
    "disgust": (-0.60, 0.35),
}
"""(valence, arousal) of each class: mean ratings of pleasure and arousal of the terms happy,
surprised, sad, angry, fearful and disgusted. Source: Russell and Mehrabian 1977, "Evidence for a
three-factor theory of emotions", Journal of Research in Personality 11, 273-294; neutral is the
plane's origin, our choice."""


def order_of(classes: Sequence[str]) -> list[int]:
    """Return the index in `classes` of each of CLASSES."""
    return [classes.index(name) for name in CLASSES]
