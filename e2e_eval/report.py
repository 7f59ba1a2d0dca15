"""Evaluation report: `out/eval.json`, and the same as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from rich.console import Console
from rich.table import Table

from e2e_eval.frame_matching import ExcludedFrames, MatchedFrames
from e2e_eval.metrics import EvaluationMetrics, compute_metrics, compute_metrics_by_rate
from e2e_eval.thresholds import MIN_JUDGED_PEOPLE, check_thresholds
from e2e_eval.training_record import TrainingRecord
from service.domain.model_signatures import TARGETS
from training.metrics import Scores


def build_report(
    clips: Sequence[MatchedFrames], record: TrainingRecord, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Build the JSON report. Raises: NoAnnotatedFrames: no frame of a rate is scored."""
    overall, rates = compute_metrics(clips), compute_metrics_by_rate(clips)
    targets = check_thresholds(clips, overall, rates)
    return {
        "held_out": overall.offline.as_dict(),
        "ablations": None if record.ablations is None else dict(record.ablations),
        "ablations_from": _describe_record(record),
        "coverage_90": overall.offline_coverage.mean,
        "end_to_end": _served_metrics(overall)
        | {"by_rate": {rate: _rate_metrics(metrics) for rate, metrics in rates.items()}},
        "offline": _offline_metrics(overall),
        "difference": _to_pair(overall.difference),
        "difference_interval_99": overall.difference_interval,
        "agreement": _agreement_metrics(overall),
        "frames": _count_frames(clips),
        "targets": {
            "hold": all(target.holds is not False for target in targets),
            "min_people": MIN_JUDGED_PEOPLE,
            "checked": [asdict(target) for target in targets],
        },
        "provenance": dict(provenance),
    }


def list_failures(report: Mapping[str, Any]) -> list[str]:
    """Sentences of the failed threshold checks."""
    return [each["sentence"] for each in report["targets"]["checked"] if each["holds"] is False]


def list_unjudged(report: Mapping[str, Any]) -> list[str]:
    """Groups of clips with too few people to judge a target, with their number of people."""
    unjudged = [each for each in report["targets"]["checked"] if each["holds"] is None]
    groups = {each["sentence"].partition(":")[0]: each["people"] for each in unjudged}
    return [f"{name} ({people})" for name, people in groups.items()]


def show_report(report: Mapping[str, Any], console: Console) -> None:
    """Print a report."""
    console.print(_build_table(report))
    frames, left_out = report["frames"], report["frames"]["left_out"]
    lines = [
        f"{frames['counted']} of {frames['all']} frames are scored; estimated only offline "
        f"{left_out['only_offline']}, only served {left_out['only_served']}, "
        f"in neither {left_out['in_neither']}",
        f"90 % intervals contain {report['coverage_90']:.1%} of the truth offline, "
        f"{report['end_to_end']['coverage_90']:.1%} served",
        f"Served, by person: {_format_people(report['end_to_end'])}",
        f"Ablations, as recorded when the weights were trained: {_format_ablations(report)}",
    ]
    if report["provenance"]["weights"]["training"] == "untrained":
        lines.append("The weights are untrained: the estimates are meaningless.")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _build_table(report: Mapping[str, Any]) -> Table:
    title = "CCC with the truth"
    columns = [f"{target}\n{of}" for target in "VA" for of in ("served", "offline", "difference")]
    table = Table("rate", "people", "frames", *columns, title=title)
    overall = report["end_to_end"] | {
        "offline": report["offline"],
        "difference": report["difference"],
        "counted": report["frames"]["counted"],
    }
    for name, row in {**report["end_to_end"]["by_rate"], "all": overall}.items():
        cells: list[str] = []
        for target in ("valence", "arousal"):
            cells += [f"{row[target]:.3f}", f"{row['offline'][target]:.3f}"]
            cells.append(f"{row['difference'][target]:+.3f}")
        people = str(row["by_person"]["people"])
        table.add_row(name, people, str(row["counted"]), *cells)
    return table


def _format_people(served: Mapping[str, Any]) -> str:
    people, parts = served["by_person"], list[str]()
    for target in TARGETS:
        deviation = people["deviation"]
        spread = "" if deviation is None else f" (deviation {deviation[target]:.3f})"
        parts.append(f"{target} {people['mean'][target]:.3f}{spread}")
    return f"mean CCC of {people['people']}: {', '.join(parts)}"


def _format_ablations(report: Mapping[str, Any]) -> str:
    if report["ablations"] is None:
        return f"not recorded ({report['ablations_from']['why_not']})"
    parts = {"full": report["ablations_from"]["full"]} | report["ablations"]
    return ", ".join(
        f"{name} {'not recorded' if mean is None else f'{mean:.3f}'}"
        for name, mean in parts.items()
    )


def _describe_record(record: TrainingRecord) -> dict[str, Any]:
    return {"report": record.source, "full": record.full_ccc, "why_not": record.missing_reason}


def _served_metrics(metrics: EvaluationMetrics) -> dict[str, Any]:
    return metrics.served.as_dict() | {
        "coverage_90": metrics.served_coverage.mean,
        "interval_99": metrics.served_interval,
        "by_person": dict(metrics.served_people),
    }


def _offline_metrics(metrics: EvaluationMetrics) -> dict[str, Any]:
    return metrics.offline.as_dict() | {
        "coverage_90": metrics.offline_coverage.mean,
        "by_person": dict(metrics.offline_people),
    }


def _rate_metrics(metrics: EvaluationMetrics) -> dict[str, Any]:
    return _served_metrics(metrics) | {
        "offline": _offline_metrics(metrics),
        "difference": _to_pair(metrics.difference),
        "difference_interval_99": metrics.difference_interval,
        "agreement": _agreement_metrics(metrics),
        "clips": metrics.clips,
        "frames": metrics.frames,
        "counted": metrics.counted,
    }


def _agreement_metrics(metrics: EvaluationMetrics) -> dict[str, Any]:
    """Served compared with offline estimates, regardless of the truth."""
    return {
        "ccc": _to_pair(metrics.agreement),
        "mean_absolute_difference": _to_pair(metrics.mean_absolute_difference),
    }


def _to_pair(scores: Scores) -> dict[str, float]:
    return {"valence": scores.valence, "arousal": scores.arousal}


def _count_frames(clips: Sequence[MatchedFrames]) -> dict[str, Any]:
    reasons = tuple(field.name for field in fields(ExcludedFrames))
    return {
        "all": sum(clip.frames for clip in clips),
        "counted": sum(len(clip.truth) for clip in clips),
        "clips": len(clips),
        "left_out": {
            reason: sum(getattr(clip.excluded, reason) for clip in clips) for reason in reasons
        },
        "lost": sum(clip.missing_rows for clip in clips),
        "strange": sum(clip.unexpected_rows for clip in clips),
    }
