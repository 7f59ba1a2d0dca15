"""Errors of shipping and of reproducing a run.

RunError
├── RunNotCalibrated       its spread is not calibrated
├── RunNotEvaluated        it has no report on held-out subjects
├── ReportWeightsMismatch  the report was written before the weights changed
├── RunNotSynthetic        it was trained or evaluated on other data than the synthetic world
├── ReleaseTooLarge        it exceeds the size limit for git
├── FolderOccupied         the folder has other files
└── StepFailed             a step of the recipe failed
"""

from __future__ import annotations

from training.loop.errors import RunError


class RunNotCalibrated(RunError):
    """The run's spread is not calibrated."""


class RunNotEvaluated(RunError):
    """The run has no metrics on held-out subjects."""


class ReportWeightsMismatch(RunError):
    """The report is not of the run's weights."""


class RunNotSynthetic(RunError):
    """Only runs trained on the synthetic world alone are shipped."""


class ReleaseTooLarge(RunError):
    """The weights are too large to be shipped."""


class FolderOccupied(RunError):
    """The folder has other files than shipped weights."""


class StepFailed(RunError):
    """A step of the recipe failed."""
