"""Model card: the template filled in with the metrics of a run and its report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from string import Template
from typing import Any

from service.domain.model_signatures import TARGETS
from training.evaluation.calibration import read_calibration
from training.evaluation.comparison import METRIC_NAMES
from training.evaluation.report_provenance import UNCERTAINTY_FILE
from training.evaluation.uncertainty_metrics import DETAILED_SCENARIOS, list_cells
from training.presets import Networks
from training.runs import TrainingRun
from training.shipping.card_template import CARD_TEMPLATE

EvaluationReport = Mapping[str, Any]


def write_card(
    run: TrainingRun, networks: Networks, report: EvaluationReport, contents: Mapping[str, bytes]
) -> str:
    """Write the card in Markdown; `contents` are the files beside the card."""
    first, fitted = run.plan.folds[0], read_calibration(run)
    uncertainty = contents.get(UNCERTAINTY_FILE)
    histories = run.read_histories()
    seconds = sum(record["seconds"] for history in histories.values() for record in history)
    values = {
        "preset": run.preset.name,
        "folder": f"weights/{run.preset.name}",
        "networks": _join_lines(_format_network_rows(networks)),
        "bytes": f"{sum(map(len, contents.values())):,}",
        "world": _format_dataset(report["world"]),
        "recordings": run.config["data"]["recordings"],
        "training": len(first.training),
        "validation": len(first.validation),
        "calibration": len(run.plan.calibration),
        "parts": _join_lines(_format_part_rows(histories)),
        "seed": run.options.seed,
        "hours": f"{seconds / 3600:.2f}",
        "machine": _format_machine(run.config.get("machine") or report["machine"]),
        "scored": f"{report['scored']:,}",
        "subjects": report["subjects"],
        "figures": _join_lines(_format_metric_rows(report)),
        "people": _join_lines(_format_person_lines(report)),
        "coverage": _format_pair(_to_percent(report["coverage_90"]), "{:.1f} %"),
        "calibrated": f"{fitted.frames:,} frames of {fitted.subjects} actors",
        "uncertainty": _join_lines(_format_uncertainty_lines(uncertainty)),
        "ablations": _join_lines(_format_ablation_lines(report)),
        "files": _join_lines(_format_file_rows(contents)),
    }
    return Template(CARD_TEMPLATE).substitute(values)


def _format_dataset(world: Mapping[str, Any]) -> str:
    rates = ", ".join(world["rates"])
    drawn = "cut from decoded video" if world["as_served"] else "drawn as crops"
    return (
        f"[The synthetic world](../../docs/explanation/synthetic-world.md), version "
        f"{world['world']}, seed {world['seed']}, {world['seconds']:g} s per actor,\n"
        f"{rates} frames per second in turn, faces {drawn}."
    )


def _format_network_rows(networks: Networks) -> Iterator[str]:
    for title, network in (
        ("visual backbone", networks.visual),
        ("audio backbone", networks.audio),
        ("fusion, six folds", networks.fusion),
    ):
        yield f"| {title} | {sum(each.numel() for each in network.parameters()):,} |"


def _format_part_rows(histories: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    for part, history in histories.items():
        best = max(history, key=lambda record: record["mean"])
        yield f"| {part} | {len(history)} | {best['epoch'] + 1} | {_format_pair(best)} |"


def _format_machine(machine: Mapping[str, Any]) -> str:
    device = machine["gpu"] or f"{machine['cores']} cores, no GPU"
    return f"{machine['processor']}, {device}, torch {machine['torch']}, Python {machine['python']}"


def _format_metric_rows(report: EvaluationReport) -> Iterator[str]:
    yield f"| ensemble, as served | {_format_cells(report['ensemble'])} |"
    yield f"| ensemble, smoothed | {_format_cells(report['ensemble_smoothed'])} |"
    folds = report["folds"].values()
    for title, pick in (("lowest", min), ("highest", max)):
        figures = {name: pick(fold[name] for fold in folds) for name in METRIC_NAMES}
        yield f"| {title} fold | {_format_cells(figures)} |"
    seeds = report["seeds"]
    if seeds is not None:
        yield f"| mean of {len(seeds['runs'])} seeds | {_format_cells(seeds['mean'])} |"
        yield f"| their standard deviation | {_format_cells(seeds['spread']['deviation'])} |"
        yield f"| their range | {_format_cells(seeds['spread']['range'])} |"


def _format_person_lines(report: EvaluationReport) -> Iterator[str]:
    people = report.get("by_person")
    if people is None or people["deviation"] is None:
        yield "How far the figures differ from person to person was not measured."
        return
    yield f"By person: the ensemble's CCC of each of the {people['people']} actors alone. It is"
    yield "lower than that of all together, which also rewards telling actors apart. The intervals"
    yield "are over actors (bootstrap): how much depends on who was drawn."
    yield ""
    yield "| of one actor | valence | arousal | mean |"
    yield "|---|---|---|---|"
    yield f"| mean | {_format_cells(people['mean'])} |"
    yield f"| 95 % interval of this mean | {_format_intervals(people['mean_interval_95'])} |"
    yield f"| standard deviation over actors | {_format_cells(people['deviation'])} |"
    yield f"| lowest actor | {_format_cells(people['lowest'])} |"
    yield f"| highest actor | {_format_cells(people['highest'])} |"
    yield f"| all together, 95 % interval | {_format_intervals(people['interval_95'])} |"


def _format_uncertainty_lines(content: bytes | None) -> Iterator[str]:
    if content is None:
        yield "Its coverage and rank correlation on strangers have not been measured."
        return
    figures = json.loads(content)
    subjects = figures["scenarios"]["all"]["subjects"]
    yield f"On {subjects} other actors, neither trained nor calibrated on"
    yield "(`python -m training uncertainty`):"
    yield ""
    yield "| | coverage, valence | arousal | Spearman with the error, valence | arousal |"
    yield "|---|---|---|---|---|"
    for name, group in figures["scenarios"].items():
        cells = [group[key][target] for key in ("coverage_90", "spearman") for target in TARGETS]
        yield f"| {name.replace('_', ' ')} | {' | '.join(f'{value:.3f}' for value in cells)} |"
        if name in DETAILED_SCENARIOS:
            for cell, pair in list_cells(group).items():
                yield f"| {name.replace('_', ' ')}, {cell} | {_format_row(pair)} | | |"
    for name, row in figures.get("ceiling", {}).items():
        reached = _format_row({target: row[f"{target}_flexible"] for target in TARGETS})
        yield f"| {name.replace('_', ' ')}, by all products of the factors | | | {reached} |"


def _format_row(pair: Mapping[str, float]) -> str:
    return " | ".join(f"{pair[target]:.3f}" for target in TARGETS)


def _format_ablation_lines(report: EvaluationReport) -> Iterator[str]:
    if not report["ablations"]:
        yield "There are no ablations."
        return
    yield "Ablations: a part is removed and the rest trained again. Behind: difference of the mean"
    yield "from the full model of the same seed; beyond seeds: it exceeds the range between seeds."
    if report["seeds"] is not None:
        runs = report["seeds"]["runs"]
        pairs = len({run["backbones"] for run in runs})
        yield f"Different pairs of backbones among the {len(runs)} seeds: {pairs}."
    yield ""
    yield "| without | valence | arousal | mean | behind | beyond seeds |"
    yield "|---|---|---|---|---|---|"
    for name, figures in report["ablations"].items():
        beyond = figures["beyond_seeds"]
        verdict = "one seed only" if beyond is None else "yes" if beyond["mean"] else "**no**"
        margin = figures["margin"]["mean"]
        yield f"| `{name}` | {_format_cells(figures)} | {margin:+.3f} | {verdict} |"


def _format_file_rows(contents: Mapping[str, bytes]) -> Iterator[str]:
    for name, content in contents.items():
        yield f"| `{hashlib.sha256(content).hexdigest()}` | {name} |"


def _format_cells(figures: Mapping[str, float]) -> str:
    return " | ".join(f"{figures[name]:.3f}" for name in METRIC_NAMES)


def _format_intervals(intervals: Mapping[str, Sequence[float]]) -> str:
    return " | ".join("{:.3f} to {:.3f}".format(*intervals[name]) for name in METRIC_NAMES)


def _format_pair(figures: Mapping[str, float], number_format: str = "{:.3f}") -> str:
    return " and ".join(
        f"{number_format.format(figures[name])} ({name})" for name in METRIC_NAMES[:2]
    )


def _to_percent(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * share for name, share in shares.items()}


def _join_lines(lines: Iterator[str]) -> str:
    return "\n".join(lines)
