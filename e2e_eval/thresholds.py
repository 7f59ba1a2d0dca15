"""What is asked of the figures, and which of it holds."""

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
    """A plain sentence that ought to be true, with its figure."""

    sentence: str
    figure: float
    holds: bool


def check_thresholds(
    clips: Sequence[MatchedFrames], whole: EvaluationMetrics, rates: Mapping[str, EvaluationMetrics]
) -> list[ThresholdCheck]:
    """Everything that is asked, of all clips and of each rate alone."""
    named = {"all clips": whole} | {f"rate {rate}": figures for rate, figures in rates.items()}
    figures = [target for name, each in named.items() for target in _check_metrics(name, each)]
    missing = sum(clip.missing_rows + clip.unexpected_rows for clip in clips)
    coverage_check = ThresholdCheck(
        sentence=f"every frame has exactly one row, offline and served: {missing} do not",
        figure=missing,
        holds=missing == 0,
    )
    return [coverage_check, *figures]


def _check_metrics(name: str, figures: EvaluationMetrics) -> Iterator[ThresholdCheck]:
    for target in TARGETS:
        served = getattr(figures.served, target)
        yield ThresholdCheck(
            sentence=f"{name}: served {target} has CCC {served:.3f}, "
            f"at least {MIN_CCC:.2f} is asked",
            figure=served,
            holds=served >= MIN_CCC,
        )
        difference = getattr(figures.difference, target)
        yield ThresholdCheck(
            sentence=f"{name}: served {target} is {difference:+.3f} from offline, "
            f"at most {MAX_DIFFERENCE:.2f} either way is asked",
            figure=difference,
            holds=abs(difference) <= MAX_DIFFERENCE,
        )
