"""What the e2e_eval found: `out/eval.json`, and the same as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from e2e_eval.frame_matching import ExcludedFrames, MatchedFrames
from e2e_eval.metrics import EvaluationMetrics, compute_metrics, compute_metrics_by_rate
from e2e_eval.thresholds import check_thresholds
from e2e_eval.training_record import TrainingRecord
from training.metrics import Scores


def build_report(
    clips: Sequence[MatchedFrames], record: TrainingRecord, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Every figure as JSON. Raises: NothingAnnotated: of all clips, or those of one rate."""
    overall, rates = compute_metrics(clips), compute_metrics_by_rate(clips)
    targets = check_thresholds(clips, overall, rates)
    return {
        "held_out": overall.offline.as_dict(),
        "ablations": None if record.ablations is None else dict(record.ablations),
        "ablations_from": _describe_record(record),
        "coverage_90": overall.offline_coverage.mean,
        "end_to_end": _served_metrics(overall)
        | {"by_rate": {rate: _rate_metrics(figures) for rate, figures in rates.items()}},
        "offline": _offline_metrics(overall),
        "difference": _to_pair(overall.difference),
        "agreement": _agreement_metrics(overall),
        "frames": _count_frames(clips),
        "targets": {
            "hold": all(target.holds for target in targets),
            "checked": [asdict(target) for target in targets],
        },
        "provenance": dict(provenance),
    }


def list_failures(report: Mapping[str, Any]) -> list[str]:
    """The sentences that ought to be true and are not."""
    return [each["sentence"] for each in report["targets"]["checked"] if not each["holds"]]


def show_report(report: Mapping[str, Any], console: Console) -> None:
    """Print a report."""
    console.print(_build_table(report))
    frames, left_out = report["frames"], report["frames"]["left_out"]
    lines = [
        f"{frames['counted']} of {frames['all']} frames count; estimated only offline "
        f"{left_out['only_offline']}, only served {left_out['only_served']}, "
        f"in neither {left_out['in_neither']}",
        f"90 % intervals hold {report['coverage_90']:.1%} of the truth offline, "
        f"{report['end_to_end']['coverage_90']:.1%} served",
        f"Ablations, as recorded when the weights were trained: {_format_ablations(report)}",
    ]
    if report["provenance"]["weights"]["training"] == "untrained":
        lines.append("The weights are untrained: no estimate means anything yet.")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _build_table(report: Mapping[str, Any]) -> Table:
    title = "CCC with the truth"
    columns = [f"{target}\n{of}" for target in "VA" for of in ("served", "offline", "apart")]
    table = Table("rate", "clips", "frames", *columns, title=title)
    overall = report["end_to_end"] | {
        "offline": report["offline"],
        "difference": report["difference"],
        "clips": report["frames"]["clips"],
        "counted": report["frames"]["counted"],
    }
    for name, row in {**report["end_to_end"]["by_rate"], "all": overall}.items():
        cells: list[str] = []
        for target in ("valence", "arousal"):
            cells += [f"{row[target]:.3f}", f"{row['offline'][target]:.3f}"]
            cells.append(f"{row['difference'][target]:+.3f}")
        table.add_row(name, str(row["clips"]), str(row["counted"]), *cells)
    return table


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


def _served_metrics(figures: EvaluationMetrics) -> dict[str, Any]:
    return figures.served.as_dict() | {"coverage_90": figures.served_coverage.mean}


def _offline_metrics(figures: EvaluationMetrics) -> dict[str, Any]:
    return figures.offline.as_dict() | {"coverage_90": figures.offline_coverage.mean}


def _rate_metrics(figures: EvaluationMetrics) -> dict[str, Any]:
    return _served_metrics(figures) | {
        "offline": _offline_metrics(figures),
        "difference": _to_pair(figures.difference),
        "agreement": _agreement_metrics(figures),
        "clips": figures.clips,
        "frames": figures.frames,
        "counted": figures.counted,
    }


def _agreement_metrics(figures: EvaluationMetrics) -> dict[str, Any]:
    """Served against offline, truth aside."""
    return {
        "ccc": _to_pair(figures.agreement),
        "mean_absolute_difference": _to_pair(figures.mean_absolute_difference),
    }


def _to_pair(scores: Scores) -> dict[str, float]:
    return {"valence": scores.valence, "arousal": scores.arousal}


def _count_frames(clips: Sequence[MatchedFrames]) -> dict[str, Any]:
    reasons = ExcludedFrames.__slots__
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
