"""Dissolves: one scene fades into another through pictures that are mixtures of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from service.domain.array_types import Float64Array, UInt8Array
from service.faces.structure import correlate, extract_pattern

MAX_SIMILARITY: Final = 0.5
"""Correlation of the structures before and after a dissolve; there is none above."""
MIN_SHARE: Final = 0.15
"""Share that each of the two has in a mixture."""
MIN_FIT: Final = 0.92
"""Share of the variance of a picture that the best mixture explains: 0.95 to 1 in a dissolve, less
where somebody or the camera moves from one place to the other."""
_SIGMA: Final = 4.0


def is_dissolve(pictures: Sequence[UInt8Array]) -> bool:
    """Return whether the first of (H, W) brightnesses dissolves into the last, and has done so.

    The one before the last is hardly of the first scene any more.
    """
    patterns = [extract_pattern(each, sigma=_SIGMA) for each in (pictures[0], pictures[-1])]
    if patterns[0] is None or patterns[1] is None:
        return False
    if correlate(patterns[0], patterns[1]) > MAX_SIMILARITY:
        return False
    before, after, *between = (
        each.astype(np.float64).ravel() - each.mean()
        for each in (pictures[0], pictures[-1], *pictures[1:-1])
    )
    fits = [_fit_mixture(before, after, each) for each in between]
    return fits[-1][0] < MIN_SHARE and any(
        one > MIN_SHARE and other > MIN_SHARE and fit > MIN_FIT for one, other, fit in fits
    )


def _fit_mixture(
    before: Float64Array, after: Float64Array, picture: Float64Array
) -> tuple[float, float, float]:
    """Fit a mixture of two to a picture: the share of each, and the explained share of variance."""
    basis = np.stack([before, after])
    gram = basis @ basis.T + 1e-6 * np.eye(2)
    products = basis @ picture
    shares = np.linalg.solve(gram, products)
    return float(shares[0]), float(shares[1]), float(shares @ products / max(picture @ picture, 1.0))
