"""Errors of fitting a head.

HeadFitError
├── EstimatorNotExported    the repository has no such estimator or version
├── EstimatorFilesChanged   a model file is not the one that the manifest describes
├── HeadFeaturesMissing     the manifest names no features that a head may use
├── HeadFeaturesInvalid     the backbone's features are not finite or not of this size
└── HeadNotFitted           no head is better than a constant
"""

from __future__ import annotations


class HeadFitError(Exception):
    """A head cannot be fitted."""

    def __init__(self, detail: str) -> None:
        title = (type(self).__doc__ or type(self).__name__).splitlines()[0].rstrip(".")
        super().__init__(f"{title}: {detail}")


class EstimatorNotExported(HeadFitError):
    """The model repository has no such estimator."""


class EstimatorFilesChanged(HeadFitError):
    """A model file is not the one that the estimator's manifest describes."""


class HeadFeaturesMissing(HeadFitError):
    """The estimator has no features that a head may use."""


class HeadFeaturesInvalid(HeadFitError):
    """The estimator's features cannot be used."""


class HeadNotFitted(HeadFitError):
    """No linear map of the features follows the annotations of unseen people."""
