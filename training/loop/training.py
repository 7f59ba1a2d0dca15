"""A whole training: data read, backbones fitted, every frame embedded, six folds fitted, spread
calibrated. Each step leaves its result in the run's folder and is skipped where that is there.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from training.data.layout import Recording, fingerprint, read_dataset
from training.data.samples import Modality
from training.evaluation.embedding import open_tracks
from training.folds import Plan, plan_folds
from training.importers.backbone import Backbone, read_backbone
from training.loop.journal import Journal
from training.loop.options import Options, ablate
from training.loop.ranks import Ranks
from training.loop.stages import Stages
from training.networks.iresnet import IResNetConfig
from training.networks.vggish import VggishConfig
from training.presets import Preset
from training.runs import Run, begin_run, open_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where the backbones come from, if not from scratch.

    visual, audio: imported files. backbones: another run over the same data, whose
    backbones are taken as they are.
    """

    visual: Path | None = None
    audio: Path | None = None
    backbones: Path | None = None


def train(
    data: Path,
    folder: Path,
    *,
    preset: Preset,
    options: Options,
    ranks: Ranks,
    journal: Journal,
    start: Start | None = None,
    workers: int = 0,
) -> Run:
    """Train a run to its end, going on where it was left.

    Raises: DatasetError, RunError, ImportRefused.
    """
    start = start or Start()
    recordings = read_dataset(data)
    plan = plan_folds(
        recordings, seed=options.deal_seed, calibration_share=options.calibration_share
    )
    imported = _imported(start)
    built = _adopt(ablate(preset, options.ablation), imported)
    facts = _facts(recordings, imported, start)
    run = ranks.ask_leader(
        lambda: begin_run(folder, preset=built, options=options, plan=plan, facts=facts)
    )
    for name in plan.left_out:
        journal.say(f"{name} is left out: its subject is in the test set")
    dealt = [r for r in recordings if r.name in _dealt(plan)]
    tracks = open_tracks(run)
    tracks.prepare(ranks.share(_one_each(dealt)))
    ranks.meet()
    Stages(run, dealt, tracks, ranks=ranks, journal=journal, workers=workers).run_all(
        imported, start.backbones
    )
    return run


def _imported(start: Start) -> dict[Modality, Backbone]:
    """Raises: BackboneFileInvalid: also where a voice's is given for faces, or the reverse."""
    imported: dict[Modality, Backbone] = {}
    if start.visual is not None:
        imported["visual"] = read_backbone(start.visual)
        imported["visual"].build_visual()
    if start.audio is not None:
        imported["audio"] = read_backbone(start.audio)
        imported["audio"].build_audio()
    return imported


def _adopt(preset: Preset, imported: dict[Modality, Backbone]) -> Preset:
    """The preset with the settings of the public networks; LA-SE stays as the preset has it."""
    for backbone in imported.values():
        config = backbone.config
        if isinstance(config, IResNetConfig):
            attention = preset.visual.attention
            preset = replace(preset, visual=replace(config, attention=attention))
        elif isinstance(config, VggishConfig):  # pyright: ignore[reportUnnecessaryIsInstance]
            preset = replace(preset, audio=config)
    return preset


def _facts(
    recordings: Sequence[Recording], imported: dict[Modality, Backbone], start: Start
) -> dict[str, Any]:
    taken = None if start.backbones is None else open_run(start.backbones).folder.name
    return {
        "data": {"fingerprint": fingerprint(recordings), "recordings": len(recordings)},
        "initial": {
            "backbones_of": taken,
            "imported": {modality: b.record for modality, b in imported.items()},
        },
        "software": {"torch": torch.__version__, "python": platform.python_version()},
        "threads": torch.get_num_threads(),
    }


def _dealt(plan: Plan) -> set[str]:
    """Everything that takes part; the test set does not."""
    first = plan.folds[0]
    crossing = [name for fold in plan.folds for name in fold.training]
    return {*first.training, *first.validation, *crossing, *plan.calibration}


def _one_each(recordings: Sequence[Recording]) -> list[Recording]:
    """One recording of each subject: what shares a video shares its sound."""
    return list({recording.subject: recording for recording in recordings}.values())
