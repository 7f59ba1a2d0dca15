"""Thresholds of the evaluation, and the check of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from e2e_eval.frame_matching import MatchedFrames
from e2e_eval.metrics import EvaluationMetrics
from service.domain.model_signatures import TARGETS

MIN_CCC: Final = 0.80
MAX_DIFFERENCE: Final = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdCheck:
    """Checked requirement as a sentence, with its measured value."""

    sentence: str
    figure: float
    holds: bool


def check_thresholds(
    clips: Sequence[MatchedFrames],
    overall: EvaluationMetrics,
    rates: Mapping[str, EvaluationMetrics],
) -> list[ThresholdCheck]:
    """Check the requirements on all clips and on each frame rate alone."""
    named = {"all clips": overall} | {f"rate {rate}": metrics for rate, metrics in rates.items()}
    checks = [check for name, metrics in named.items() for check in _check_metrics(name, metrics)]
    missing = sum(clip.missing_rows + clip.unexpected_rows for clip in clips)
    coverage_check = ThresholdCheck(
        sentence=f"every frame has exactly one row, offline and served: {missing} do not",
        figure=missing,
        holds=missing == 0,
    )
    return [coverage_check, *checks]


def _check_metrics(name: str, metrics: EvaluationMetrics) -> Iterator[ThresholdCheck]:
    for target in TARGETS:
        served = getattr(metrics.served, target)
        yield ThresholdCheck(
            sentence=f"{name}: served {target} has CCC {served:.3f}, "
            f"at least {MIN_CCC:.2f} is required",
            figure=served,
            holds=served >= MIN_CCC,
        )
        difference = getattr(metrics.difference, target)
        yield ThresholdCheck(
            sentence=f"{name}: served {target} is {difference:+.3f} from offline, "
            f"at most {MAX_DIFFERENCE:.2f} either way is required",
            figure=difference,
            holds=abs(difference) <= MAX_DIFFERENCE,
        )
