"""Errors that prevent an evaluation; a score below a threshold is no error.

EvaluationError
├── FramesMismatch     rendering, offline, serving: the frames of a clip differ
├── WeightsMismatch    offline, serving: not the weights that are exported here
├── ActorsNotHeldOut   rendering: the weights were trained on these actors
└── ClipNotAnnotated   serving: a clip has no result
"""

from __future__ import annotations


class EvaluationError(Exception):
    """The evaluation cannot be completed."""


class FramesMismatch(EvaluationError):
    """Two sources of one clip differ in its frames or their times."""


class WeightsMismatch(EvaluationError):
    """The weights are not those of the model repository."""


class ActorsNotHeldOut(EvaluationError):
    """An actor was used in training."""


class ClipNotAnnotated(EvaluationError):
    """The service has no result for a clip."""
