"""What the proof found: `out/eval.json`, and the same as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from proof.frames import LeftOut, Matched
from proof.record import Record
from proof.scores import Figures, by_rate, score_frames
from proof.targets import check_targets
from training.metrics import Scores


def build_report(
    clips: Sequence[Matched], record: Record, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Every figure as JSON. Raises: NothingAnnotated: of all clips, or those of one rate."""
    whole, rates = score_frames(clips), by_rate(clips)
    targets = check_targets(clips, whole, rates)
    return {
        "held_out": whole.offline.as_dict(),
        "ablations": None if record.ablations is None else dict(record.ablations),
        "ablations_from": _source(record),
        "coverage_90": whole.offline_coverage.mean,
        "end_to_end": _served(whole)
        | {"by_rate": {rate: _beside(figures) for rate, figures in rates.items()}},
        "offline": _offline(whole),
        "difference": _pair(whole.difference),
        "agreement": _agreement(whole),
        "frames": _frames(clips),
        "targets": {
            "hold": all(target.holds for target in targets),
            "checked": [asdict(target) for target in targets],
        },
        "provenance": dict(provenance),
    }


def failures(report: Mapping[str, Any]) -> list[str]:
    """The sentences that ought to be true and are not."""
    return [each["sentence"] for each in report["targets"]["checked"] if not each["holds"]]


def show_report(report: Mapping[str, Any], console: Console) -> None:
    """Print a report."""
    console.print(_table(report))
    frames, left_out = report["frames"], report["frames"]["left_out"]
    lines = [
        f"{frames['counted']} of {frames['all']} frames count; estimated only offline "
        f"{left_out['only_offline']}, only served {left_out['only_served']}, "
        f"in neither {left_out['in_neither']}",
        f"90 % intervals hold {report['coverage_90']:.1%} of the truth offline, "
        f"{report['end_to_end']['coverage_90']:.1%} served",
        f"Ablations, as recorded when the weights were trained: {_ablations(report)}",
    ]
    if report["provenance"]["weights"]["training"] == "untrained":
        lines.append("The weights are untrained: no estimate means anything yet.")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(report: Mapping[str, Any]) -> Table:
    title = "CCC with the truth"
    columns = [f"{target}\n{of}" for target in "VA" for of in ("served", "offline", "apart")]
    table = Table("rate", "clips", "frames", *columns, title=title)
    whole = report["end_to_end"] | {
        "offline": report["offline"],
        "difference": report["difference"],
        "clips": report["frames"]["clips"],
        "counted": report["frames"]["counted"],
    }
    for name, row in {**report["end_to_end"]["by_rate"], "all": whole}.items():
        cells: list[str] = []
        for target in ("valence", "arousal"):
            cells += [f"{row[target]:.3f}", f"{row['offline'][target]:.3f}"]
            cells.append(f"{row['difference'][target]:+.3f}")
        table.add_row(name, str(row["clips"]), str(row["counted"]), *cells)
    return table


def _ablations(report: Mapping[str, Any]) -> str:
    if report["ablations"] is None:
        return f"not recorded ({report['ablations_from']['why_not']})"
    parts = {"full": report["ablations_from"]["full"]} | report["ablations"]
    return ", ".join(
        f"{name} {'not recorded' if mean is None else f'{mean:.3f}'}"
        for name, mean in parts.items()
    )


def _source(record: Record) -> dict[str, Any]:
    return {"report": record.source, "full": record.full, "why_not": record.why_not}


def _served(figures: Figures) -> dict[str, Any]:
    return figures.served.as_dict() | {"coverage_90": figures.served_coverage.mean}


def _offline(figures: Figures) -> dict[str, Any]:
    return figures.offline.as_dict() | {"coverage_90": figures.offline_coverage.mean}


def _beside(figures: Figures) -> dict[str, Any]:
    return _served(figures) | {
        "offline": _offline(figures),
        "difference": _pair(figures.difference),
        "agreement": _agreement(figures),
        "clips": figures.clips,
        "frames": figures.frames,
        "counted": figures.counted,
    }


def _agreement(figures: Figures) -> dict[str, Any]:
    """Served against offline, truth aside."""
    return {"ccc": _pair(figures.agreement), "mean_absolute_difference": _pair(figures.apart)}


def _pair(scores: Scores) -> dict[str, float]:
    return {"valence": scores.valence, "arousal": scores.arousal}


def _frames(clips: Sequence[Matched]) -> dict[str, Any]:
    reasons = LeftOut.__slots__
    return {
        "all": sum(clip.frames for clip in clips),
        "counted": sum(len(clip.truth) for clip in clips),
        "clips": len(clips),
        "left_out": {
            reason: sum(getattr(clip.left_out, reason) for clip in clips) for reason in reasons
        },
        "lost": sum(clip.lost for clip in clips),
        "strange": sum(clip.strange for clip in clips),
    }
