"""Why a run is not shipped, or not made again.

RunError
├── RunNotCalibrated      its spread is that of the folds, not an honest one
├── RunNotEvaluated       no report, or none on people whom it has not seen
├── ReportOfOtherWeights  the report was written before the weights changed
├── RunOfOtherWorlds      it did not learn from, or was not judged on, the synthetic world alone
├── ShipmentTooLarge      more than what is kept in git
├── FolderTaken           the folder holds something else
└── StepFailed            a step of the recipe ended with an error of its own
"""

from __future__ import annotations

from training.loop.errors import RunError


class RunNotCalibrated(RunError):
    """The run's spread is not calibrated."""


class RunNotEvaluated(RunError):
    """The run has no figures on people whom it has not seen."""


class ReportWeightsMismatch(RunError):
    """The report does not speak of the run's weights."""


class RunNotSynthetic(RunError):
    """Only what the synthetic world alone has taught is shipped."""


class ReleaseTooLarge(RunError):
    """The weights are too large to be shipped."""


class FolderOccupied(RunError):
    """The folder holds something else than shipped weights."""


class StepFailed(RunError):
    """A step of the recipe failed."""
