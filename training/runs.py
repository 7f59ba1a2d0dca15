"""A run on disk: its choices, and the weights, metrics and embeddings of its parts.

RUN/config.json                                  preset, options, data, who is in which fold
RUN/{visual,audio}_backbone/, RUN/fold_0/ ...    checkpoint.safetensors, weights.safetensors,
                                                 metrics.jsonl
RUN/metrics.jsonl, RUN/curves.png                every part, every epoch
RUN/calibration.json                             the spread's scale and floor
RUN/tracks/, RUN/embeddings/                     caches; may be deleted
RUN/evaluation/<split>/                          report.json, predictions/, submission.txt
RUN/evaluation/cache/                            tracks and embeddings of other data

A run that was shipped has no scratch: no checkpoints, caches or RUN/evaluation; its report.json
stands beside config.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file

from service.domain.model_signatures import FOLDS
from training.data.atomic_files import replace_text
from training.data.augmentation import Augmentation
from training.data.samples import Modality
from training.data.window_grid import WindowGrid
from training.folds import CrossValidationPlan, FoldSplit
from training.loop.checkpoint import StateDict
from training.loop.errors import RunConfigMismatch, RunIncomplete, RunNotFound
from training.loop.fitting import METRICS_FILE, WEIGHTS_FILE
from training.loop.options import Ablation, Decay, TrainingOptions, TrainingSchedule
from training.networks.encoder import EncoderConfig
from training.networks.fusion import FusionConfig
from training.networks.iresnet import IResNetConfig
from training.networks.log_mel import LogMelConfig
from training.networks.tcn import TcnConfig
from training.networks.vggish import VggishConfig
from training.presets import Networks, Preset, build_networks

CONFIG_FILE: Final = "config.json"
CURVES_FILE: Final = "curves.png"
CALIBRATION_FILE: Final = "calibration.json"
_FIXED_CONFIG_KEYS: Final = ("preset", "options", "data", "plan", "initial")
"""What must be the same for a run to go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """A run's folder and its choices."""

    folder: Path
    preset: Preset
    """As built: without what is ablated, with the settings of imported backbones."""
    options: TrainingOptions
    plan: CrossValidationPlan
    config: Mapping[str, Any]

    def backbone_folder(self, modality: Modality) -> Path:
        """The folder of a backbone."""
        return self.folder / f"{modality}_backbone"

    def fold_folder(self, fold: int) -> Path:
        """The folder of a fold."""
        return self.folder / f"fold_{fold}"

    @property
    def part_folders(self) -> dict[str, Path]:
        """Every part's folder, in the order of training."""
        backbones = {f"{m} backbone": self.backbone_folder(m) for m in ("visual", "audio")}
        return backbones | {f"fold {fold}": self.fold_folder(fold) for fold in self.options.folds}

    def read_histories(self) -> dict[str, list[dict[str, Any]]]:
        """Every part's epochs so far."""
        return {
            part: [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]
            for part, folder in self.part_folders.items()
            if (folder / METRICS_FILE).is_file()
        }

    def load_networks(self, *, folds: bool = True) -> Networks:
        """The trained networks in evaluation mode; folds that were not asked for stay untrained.

        Raises: RunUnfinished.
        """
        networks = build_networks(self.preset, self.options.seed)
        networks.visual.load_state_dict(self._read_backbone_state("visual"))
        networks.audio.load_state_dict(self._read_backbone_state("audio"))
        for fold in self.options.folds if folds else ():
            networks.fusion.folds[fold].load_state_dict(
                _read_weights(self.fold_folder(fold) / WEIGHTS_FILE)
            )
        return networks

    def _read_backbone_state(self, modality: Modality) -> StateDict:
        """The backbone without the regression it was taught with."""
        state = _read_weights(self.backbone_folder(modality) / WEIGHTS_FILE)
        prefix = "backbone."
        return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def start_or_resume_run(
    folder: Path,
    *,
    preset: Preset,
    options: TrainingOptions,
    plan: CrossValidationPlan,
    metadata: Mapping[str, Any],
) -> TrainingRun:
    """Start a run in a folder, or go on with the one that is there.

    Args: facts: `data` and `initial`, which must not change, and anything else.
    Raises: RunOfOtherChoices: with the choices that differ.
    """
    fixed_config = {"preset": asdict(preset), "options": asdict(options), "plan": asdict(plan)}
    config = json.loads(json.dumps({"format": 1, **fixed_config, **metadata}))
    if (folder / CONFIG_FILE).is_file():
        stored_config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        differing_keys = [
            name for name in _FIXED_CONFIG_KEYS if stored_config.get(name) != config[name]
        ]
        if differing_keys:
            raise RunConfigMismatch(
                f"{folder} was begun with another {', another '.join(differing_keys)}"
            )
    else:
        replace_text(folder / CONFIG_FILE, json.dumps(config, indent=2) + "\n")
    return open_run(folder)


def open_run(folder: Path) -> TrainingRun:
    """Read a run. Raises: RunNotFound."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise RunNotFound(f"{folder / CONFIG_FILE} cannot be read") from error
    return TrainingRun(
        folder=folder,
        preset=_parse_preset(config["preset"]),
        options=_parse_options(config["options"]),
        plan=_parse_plan(config["plan"]),
        config=config,
    )


def check_has_all_folds(run: TrainingRun) -> None:
    """Raises: RunUnfinished: not all six folds are in the run."""
    if set(run.options.folds) != set(range(FOLDS)):
        raise RunIncomplete(f"{run.folder} has folds {run.options.folds}, all six are needed")


def _read_weights(file: Path) -> StateDict:
    if not file.is_file():
        raise RunIncomplete(f"{file} is missing; the same command goes on where it stopped")
    return load_file(file)


def _parse_preset(values: dict[str, Any]) -> Preset:
    fusion = values["fusion"]
    return Preset(
        name=values["name"],
        visual=IResNetConfig(**_lists_to_tuples(values["visual"])),
        audio=VggishConfig(**_lists_to_tuples(values["audio"])),
        log_mel=LogMelConfig(**_lists_to_tuples(values["log_mel"])),
        fusion=FusionConfig(
            visual=TcnConfig(**_lists_to_tuples(fusion["visual"])),
            audio=TcnConfig(**_lists_to_tuples(fusion["audio"])),
            encoder=EncoderConfig(**_lists_to_tuples(fusion["encoder"])),
        ),
    )


def _parse_options(values: dict[str, Any]) -> TrainingOptions:
    ablation = values["ablation"]
    parts: dict[str, Any] = {
        "ablation": None if ablation is None else Ablation(ablation),
        "grid": WindowGrid(**values["grid"]),
        "backbone": _parse_schedule(values["backbone"]),
        "fold": _parse_schedule(values["fold"]),
        "augmentation": Augmentation(**values["augmentation"]),
    }
    return TrainingOptions(**(_lists_to_tuples(values) | parts))


def _parse_schedule(values: dict[str, Any]) -> TrainingSchedule:
    decay: dict[str, Any] = {"decay": Decay(values["decay"])}
    return TrainingSchedule(**(values | decay))


def _parse_plan(values: dict[str, Any]) -> CrossValidationPlan:
    folds = tuple(FoldSplit(**_lists_to_tuples(fold)) for fold in values["folds"])
    return CrossValidationPlan(
        folds=folds,
        calibration=tuple(values["calibration"]),
        left_out=tuple(values["left_out"]),
    )


def _lists_to_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _list_to_tuple(value) for name, value in values.items()}


def _list_to_tuple(value: Any) -> Any:
    return tuple(map(_list_to_tuple, value)) if isinstance(value, list) else value
