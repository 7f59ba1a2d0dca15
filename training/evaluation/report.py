"""What a run is worth on a part of the official split: figures, predictions, submission."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from training.data.errors import SplitEmpty
from training.data.files import replace_text
from training.data.layout import Split, fingerprint, of_split, read_dataset
from training.evaluation.calibration import read_calibration
from training.evaluation.comparison import Contender, compare_ablations, compare_seeds
from training.evaluation.estimation import Estimation
from training.evaluation.evidence import EVALUATION, REPORT, weight_hashes
from training.evaluation.figures import cross_validation, ensemble_of, figures_of
from training.evaluation.predictions import write_predictions, write_submission
from training.loop.errors import RunOfOtherChoices
from training.loop.journal import Journal
from training.machine import describe_machine
from training.runs import Run, open_run
from training.synthetic.order import ORDER_FILE


def evaluate(
    folder: Path,
    data: Path,
    *,
    split: Split,
    device: torch.device,
    journal: Journal,
    ablations: Sequence[Path] = (),
    seeds: Sequence[Path] = (),
    out: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a run, other seeds of it and ablations of it; write OUT/<split>/.

    Args: out: where everything goes, caches too; otherwise RUN/evaluation, and each run's
        caches to its own folder.
    Raises: DatasetError, RunError.
    """
    recordings = read_dataset(data)
    chosen = of_split(recordings, split)
    if not chosen:
        raise SplitEmpty(f"{data} has no {split} set")
    run = open_run(folder)
    others = [_open_seed(other, run) for other in seeds]
    ablated = [open_run(other) for other in ablations]
    estimation = Estimation(
        split=split,
        recordings=chosen,
        fingerprint=fingerprint(recordings),
        data=data,
        out=out,
        device=device,
        journal=journal,
    )
    timelines = estimation.estimate(run, run)
    report = _facts(run, estimation) | figures_of(run, chosen, timelines)
    report |= {"cross_validation": cross_validation(run)}
    report |= _compare(estimation, run, report["ensemble"], others, ablated)
    report |= {"machine": describe_machine()}
    target = (out or run.folder / EVALUATION) / split
    spreads = [read_calibration(run).apply(timeline.spread) for timeline in timelines]
    write_predictions(target / "predictions", chosen, timelines, spreads, run.options.folds)
    write_submission(target / "submission.txt", chosen, timelines)
    replace_text(target / REPORT, json.dumps(report, indent=2) + "\n")
    return report


def _facts(run: Run, estimation: Estimation) -> dict[str, Any]:
    """Which weights, and what they are put through."""
    return {
        "run": run.config["preset"]["name"],
        "ablation": run.options.ablation,
        "seed": run.options.seed,
        "weights": weight_hashes(run),
        "split": estimation.split,
        "data_fingerprint": estimation.fingerprint,
        "world": _world(estimation.data),
        "recordings": len(estimation.recordings),
        "subjects": len({recording.subject for recording in estimation.recordings}),
    }


def _compare(
    estimation: Estimation,
    run: Run,
    figures: dict[str, Any] | None,
    others: list[Run],
    ablated: list[Run],
) -> dict[str, Any]:
    """`seeds` and `ablations`; without annotations there is nothing to compare."""
    if figures is None:
        return {"seeds": None, "ablations": {}}
    full = [_contender(run, figures), *(_measure(estimation, other, run) for other in others)]
    seeds = compare_seeds(full)
    measured = [_measure(estimation, other, run) for other in ablated]
    return {"seeds": seeds, "ablations": compare_ablations(measured, full, seeds)}


def _measure(estimation: Estimation, run: Run, first: Run) -> Contender:
    return _contender(
        run, ensemble_of(run, estimation.recordings, estimation.estimate(run, first)) or {}
    )


def _contender(run: Run, figures: dict[str, Any]) -> Contender:
    name = run.folder.resolve().name
    return Contender(
        name=run.options.ablation or name,
        run=name,
        seed=run.options.seed,
        backbones=run.config["initial"]["backbones_of"] or name,
        figures=figures,
    )


def _open_seed(folder: Path, first: Run) -> Run:
    """Raises: RunOfOtherChoices: it differs in more than the seed, or not in the seed."""
    run = open_run(folder)
    same = (run.preset, run.options.ablation) == (first.preset, first.options.ablation)
    if not same or run.config["data"] != first.config["data"]:
        raise RunOfOtherChoices(
            f"{folder} is another network than {first.folder}, or of other data"
        )
    if run.options.seed == first.options.seed:
        raise RunOfOtherChoices(f"{folder} has the seed of {first.folder}, {run.options.seed}")
    return run


def _world(data: Path) -> dict[str, Any] | None:
    """What the synthetic world was asked for; null for other data."""
    order = data / ORDER_FILE
    return json.loads(order.read_text(encoding="utf-8")) if order.is_file() else None
