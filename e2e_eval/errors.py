"""What keeps the e2e_eval from being made; a figure that is too low is no error.

ProofError
├── FramesDisagree     drawing, offline, serving: they do not speak of the same frames
├── WeightsDiffer      offline, serving: not the weights that are exported here
├── ActorsTaught       drawing: the weights learnt from these very actors
└── ClipNotServed      serving: a clip that has no result
"""

from __future__ import annotations


class EvaluationError(Exception):
    """The e2e_eval cannot be made."""


class FramesMismatch(EvaluationError):
    """Two accounts of one clip differ in its frames or their times."""


class WeightsMismatch(EvaluationError):
    """The weights are not those of the model repository."""


class ActorsNotHeldOut(EvaluationError):
    """An actor is not held out."""


class ClipNotAnnotated(EvaluationError):
    """The service has no result for a clip."""
