"""What can be wrong with a run.

RunError
├── RunNotFound          the folder holds no run
├── RunOfOtherChoices    the folder holds a run of other options, preset or data
├── RunUnfinished        a part that is asked for has not been trained to its end
├── WeightsUnfit         a file of weights does not fit the network
├── TrainingDiverged     the loss is no number any more
├── SubjectsMet          the run has met the people that it should be calibrated on
└── RunNotServable       an ablated modality: the served fusion would see it all the same
"""

from __future__ import annotations


class RunError(Exception):
    """The run cannot be used."""

    def __init__(self, detail: str) -> None:
        title = (type(self).__doc__ or type(self).__name__).splitlines()[0].rstrip(".")
        super().__init__(f"{title}: {detail}")


class RunNotFound(RunError):
    """The folder holds no run."""


class RunConfigMismatch(RunError):
    """The folder holds a run of other choices."""


class RunIncomplete(RunError):
    """The run has not come to its end."""


class IncompatibleWeights(RunError):
    """The weights do not fit the network."""


class TrainingDiverged(RunError):
    """The loss is no number any more."""


class SubjectsNotHeldOut(RunError):
    """The run has met these people."""


class RunNotServable(RunError):
    """The run cannot be served."""
