"""Errors of a training run.

RunError
├── RunNotFound          the folder has no run
├── RunConfigMismatch    the folder has a run with other options, preset or data
├── RunIncomplete        a required part is not fully trained
├── OptionNotApplicable  the visual backbone has not what an option changes
├── TrainingDiverged     the loss is not finite
├── SubjectsNotHeldOut   the run was trained on subjects that it should be calibrated on
└── RunNotServable       a modality was ablated, which the served fusion does not do
"""

from __future__ import annotations


class RunError(Exception):
    """The run cannot be used."""

    def __init__(self, detail: str) -> None:
        title = (type(self).__doc__ or type(self).__name__).splitlines()[0].rstrip(".")
        super().__init__(f"{title}: {detail}")


class RunNotFound(RunError):
    """The folder has no run."""


class RunConfigMismatch(RunError):
    """The folder has a run with another configuration."""


class RunIncomplete(RunError):
    """The run is not complete."""


class OptionNotApplicable(RunError):
    """The option does not apply to this visual backbone."""


class TrainingDiverged(RunError):
    """The loss is not finite."""


class SubjectsNotHeldOut(RunError):
    """The run was trained or validated on these subjects."""


class RunNotServable(RunError):
    """The run cannot be served."""
