"""Metrics by person: each person's own concordance, and how far figures depend on who is measured.

The concatenated CCC is higher than most people's own: it also rewards telling people apart. Its
interval is a bootstrap over people, since frames of one person are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from service.domain.array_types import Float64Array
from service.domain.model_signatures import TARGETS
from training.data.errors import NoAnnotatedFrames
from training.metrics import Values

_RESAMPLES: Final = 4_000
_SEED: Final = 0
_NAMES: Final = (*TARGETS, "mean")
MIN_PEOPLE: Final = 2
"""People below which there is no deviation and no interval."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PersonSums:
    """Sums over each person's frames, (P, 2, 6): count, x, y, xx, yy, xy of estimate and truth."""

    values: Float64Array

    def __len__(self) -> int:
        return len(self.values)

    @property
    def own_ccc(self) -> Float64Array:
        """Each person's CCC, (P, 3): valence, arousal and their mean."""
        return _compute_ccc(self.values)

    def resample_ccc(self) -> Float64Array:
        """Return the concatenated CCC of resampled people, (R, 3); the same people every time."""
        return _compute_ccc(np.einsum("rp,ptk->rtk", _draw_people(len(self)), self.values))

    @property
    def rmse(self) -> Float64Array:
        """Root mean square error over all frames, (3,): valence, arousal and their mean."""
        return _compute_rmse(self.values.sum(axis=0))

    def resample_rmse(self) -> Float64Array:
        """Return the root mean square error of resampled people, (R, 3), drawn as the CCC's."""
        return _compute_rmse(np.einsum("rp,ptk->rtk", _draw_people(len(self)), self.values))


def sum_by_person(
    people: Sequence[str], estimates: Sequence[Values], truths: Sequence[Values]
) -> PersonSums:
    """Sum over recordings, (T, 2) each, of the people in order; people without frames are left out.

    Raises: NoAnnotatedFrames: nobody has a frame.
    """
    sums: dict[str, Float64Array] = {}
    for person, estimate, truth in zip(people, estimates, truths, strict=True):
        x, y = estimate.astype(np.float64), truth.astype(np.float64)
        parts = (np.ones_like(x), x, y, x * x, y * y, x * y)
        own = np.stack([part.sum(axis=0) for part in parts], axis=-1)
        sums[person] = sums.get(person, np.zeros_like(own)) + own
    values = [own for own in sums.values() if own[0, 0] > 0]
    if not values:
        raise NoAnnotatedFrames("no frame to score")
    return PersonSums(values=np.stack(values))


def describe_people(sums: PersonSums) -> dict[str, Any]:
    """Describe people's own CCC, and 95 % intervals over people; JSON.

    Returns: `people`; `mean` and `deviation` of their own CCC, `lowest` and `highest`;
        `mean_interval_95` of that mean; `interval_95` of the concatenated CCC. What needs two
        people is None for one.
    """
    own, several = sums.own_ccc, len(sums) >= MIN_PEOPLE
    means = _draw_people(len(sums)) @ own / len(sums)
    return {
        "people": len(sums),
        "mean": _name(own.mean(axis=0)),
        "deviation": _name(own.std(axis=0, ddof=1)) if several else None,
        "lowest": _name(own.min(axis=0)),
        "highest": _name(own.max(axis=0)),
        "mean_interval_95": find_intervals(means) if several else None,
        "interval_95": find_intervals(sums.resample_ccc()) if several else None,
    }


def find_intervals(resampled: Float64Array, share: float = 0.95) -> dict[str, Interval]:
    """Find the central share of resampled figures, (R, 3), by name."""
    outside = (1 - share) / 2
    low, high = np.quantile(resampled, (outside, 1 - outside), axis=0).tolist()
    return {name: (first, last) for name, first, last in zip(_NAMES, low, high, strict=True)}


def _draw_people(count: int) -> Float64Array:
    """Draw how often each person is in each resample, (R, P); people are drawn with return."""
    random = np.random.default_rng((_SEED, count))
    return random.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES).astype(np.float64)


def _compute_ccc(sums: Float64Array) -> Float64Array:
    """Compute valence, arousal and their mean, (..., 3), from (..., 2, 6) sums."""
    x, y, xx, yy, xy = (sums[..., place] / sums[..., 0] for place in range(1, 6))
    error = np.maximum(xx - 2 * xy + yy, 0.0)
    extent = np.maximum(xx - x * x, 0.0) + np.maximum(yy - y * y, 0.0) + (x - y) ** 2
    ratio = np.divide(error, extent, out=np.zeros_like(error), where=extent > 0)
    targets = 1.0 - ratio
    return np.concatenate([targets, targets.mean(axis=-1, keepdims=True)], axis=-1)


def _compute_rmse(sums: Float64Array) -> Float64Array:
    """Compute valence, arousal and their mean, (..., 3), from (..., 2, 6) sums."""
    xx, yy, xy = (sums[..., place] / sums[..., 0] for place in (3, 4, 5))
    targets = np.sqrt(np.maximum(xx - 2 * xy + yy, 0.0))
    return np.concatenate([targets, targets.mean(axis=-1, keepdims=True)], axis=-1)


def _name(values: Float64Array) -> dict[str, float]:
    return dict(zip(_NAMES, values.tolist(), strict=True))
