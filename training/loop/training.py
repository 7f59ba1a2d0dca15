"""A whole training: data read, backbones fitted, every frame embedded, six folds fitted, spread
calibrated. Each step leaves its result in the run's folder and is skipped where that is there.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from service.domain.signatures import FACE_FEATURES, VOICE_FEATURES
from training.data.embeddings import Embeddings
from training.data.layout import Recording, fingerprint, read_dataset
from training.data.samples import Modality, Source
from training.data.tracks import Tracks
from training.evaluation.calibration import calibrate_run
from training.evaluation.embedding import embed_recordings, open_tracks
from training.folds import Plan, plan_folds
from training.importers.backbone import Backbone, read_backbone
from training.loop.backbones import BackbonePart, Material, Regression
from training.loop.errors import RunOfOtherChoices, RunUnfinished
from training.loop.fitting import METRICS, WEIGHTS, Conditions, fit
from training.loop.heads import FoldPart, Lessons
from training.loop.journal import Journal, draw_curves, write_metrics
from training.loop.options import Options, ablate
from training.loop.ranks import Ranks
from training.networks.initialisation import seed_weights
from training.networks.iresnet import IResNetConfig
from training.networks.vggish import VggishConfig
from training.presets import Preset, build_networks
from training.runs import CURVES, Run, begin_run, open_run

_FEATURES: Final[dict[Modality, int]] = {"visual": FACE_FEATURES, "audio": VOICE_FEATURES}


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
    plan = plan_folds(recordings, seed=options.seed, calibration_share=options.calibration_share)
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
    _Training(run, dealt, tracks, ranks, journal, workers).run_all(imported, start.backbones)
    return run


class _Training:
    def __init__(
        self,
        run: Run,
        recordings: Sequence[Recording],
        tracks: Tracks,
        ranks: Ranks,
        journal: Journal,
        workers: int,
    ) -> None:
        self._run = run
        self._recordings = recordings
        self._tracks = tracks
        self._ranks = ranks
        self._journal = journal
        self._workers = workers

    def run_all(self, imported: dict[Modality, Backbone], backbones: Path | None) -> None:
        for modality in _FEATURES:
            taken = backbones is not None and self._take_backbone(modality, backbones)
            if not taken:
                self._fit_backbone(modality, imported.get(modality))
        embeddings = self._embed()
        for fold in self._ranks.share(self._run.options.folds):
            self._fit_fold(fold, embeddings)
        self._ranks.meet()
        if self._ranks.leads:
            self._draw()
            calibrated = calibrate_run(self._run, self._recordings, embeddings, self._ranks.device)
            self._journal.say(calibrated)
        self._ranks.meet()

    def _fit_backbone(self, modality: Modality, imported: Backbone | None) -> None:
        options, run = self._run.options, self._run
        networks = build_networks(run.preset, options.seed)
        backbone = networks.visual if modality == "visual" else networks.audio
        if imported is not None:
            imported.load_into(backbone)
        model = Regression(backbone, modality, _FEATURES[modality])
        seed_weights(model.head, options.seed, f"{modality} head")
        material = Material(
            training=self._named(run.plan.folds[0].training),
            validation=self._named(run.plan.folds[0].validation),
            source=Source(modality=modality, tracks=self._tracks, rate_hz=options.rate_hz),
            workers=self._workers,
        )
        part = BackbonePart(
            model, material, options=options, ranks=self._ranks, gradually=imported is not None
        )
        rate = options.backbone.learning_rate if imported is None else options.fine_tuning_rate
        conditions = Conditions(
            schedule=options.backbone,
            learning_rate=rate,
            seed=options.seed,
            ranks=self._ranks,
            journal=self._journal,
        )
        fit(part, run.backbone(modality), conditions)

    def _take_backbone(self, modality: Modality, folder: Path) -> bool:
        """Another run's backbone over the same folds; False where its network is another."""
        other, run = open_run(folder), self._run
        config = {"visual": run.preset.visual, "audio": run.preset.audio}[modality]
        theirs = {"visual": other.preset.visual, "audio": other.preset.audio}[modality]
        if (run.plan, run.config["data"]) != (other.plan, other.config["data"]):
            raise RunOfOtherChoices(f"{folder} learnt from other data or was dealt other folds")
        if config != theirs:
            self._journal.say(f"the {modality} backbone of {folder.name} is another network")
            return False
        if not (other.backbone(modality) / WEIGHTS).is_file():
            raise RunUnfinished(f"{other.backbone(modality)} has no {WEIGHTS} yet")
        if self._ranks.leads:
            run.backbone(modality).mkdir(exist_ok=True)
            for name in (METRICS, WEIGHTS):
                shutil.copy(other.backbone(modality) / name, run.backbone(modality) / name)
        self._ranks.meet()
        return True

    def _embed(self) -> Embeddings:
        mine = self._ranks.share(self._recordings)
        embeddings = embed_recordings(
            self._run, mine, self._tracks, self._ranks.device, self._journal
        )
        self._ranks.meet()
        return embeddings

    def _fit_fold(self, fold: int, embeddings: Embeddings) -> None:
        options, run = self._run.options, self._run
        plan = run.plan.folds[fold]
        lessons = Lessons(
            training=self._named(plan.training),
            validation=self._named(plan.validation),
            embeddings=embeddings,
        )
        model = build_networks(run.preset, options.seed).fusion.folds[fold]
        alone = replace(self._ranks, rank=0, size=1)
        part = FoldPart(fold, model, lessons, options=options, device=alone.device)
        conditions = Conditions(
            schedule=options.fold,
            learning_rate=options.fold.learning_rate,
            seed=options.seed,
            ranks=alone,
            journal=self._journal,
        )
        fit(part, run.fold(fold), conditions)

    def _draw(self) -> None:
        histories = self._run.histories()
        every = [{"part": part, **one} for part, history in histories.items() for one in history]
        write_metrics(self._run.folder / METRICS, every)
        draw_curves(self._run.folder / CURVES, histories)

    def _named(self, names: Sequence[str]) -> list[Recording]:
        chosen = set(names)
        return [recording for recording in self._recordings if recording.name in chosen]


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
