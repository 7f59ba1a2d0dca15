"""What keeps the proof from being made; a figure that is too low is no error.

ProofError
├── FramesDisagree     drawing, offline, serving: they do not speak of the same frames
├── WeightsDiffer      offline, serving: not the weights that are exported here
├── ActorsTaught       drawing: the weights learnt from these very actors
└── ClipNotServed      serving: a clip that has no result
"""

from __future__ import annotations


class ProofError(Exception):
    """The proof cannot be made."""


class FramesDisagree(ProofError):
    """Two accounts of one clip differ in its frames or their times."""


class WeightsDiffer(ProofError):
    """The weights are not those of the model repository."""


class ActorsTaught(ProofError):
    """An actor is not held out."""


class ClipNotServed(ProofError):
    """The service has no result for a clip."""
