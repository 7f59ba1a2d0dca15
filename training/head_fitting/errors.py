"""Errors of fitting a head.

HeadFitError
├── HeadFeaturesMissing     the manifest names no features that a head may use
├── HeadFeaturesInvalid     the backbone's features are not finite
├── FeaturesNotHeldOut      the backbone was trained on the very people
└── HeadNotFitted           estimates of unseen people do not go with their annotations
"""

from __future__ import annotations


class HeadFitError(Exception):
    """A head cannot be fitted."""

    def __init__(self, detail: str) -> None:
        title = (type(self).__doc__ or type(self).__name__).splitlines()[0].rstrip(".")
        super().__init__(f"{title}: {detail}")


class HeadFeaturesMissing(HeadFitError):
    """The estimator has no features that a head may use."""


class HeadFeaturesInvalid(HeadFitError):
    """The estimator's features cannot be used."""


class FeaturesNotHeldOut(HeadFitError):
    """The estimator's backbone was trained on these recordings: nobody is left to measure on."""


class HeadNotFitted(HeadFitError):
    """No linear map of the features follows the annotations of unseen people."""
