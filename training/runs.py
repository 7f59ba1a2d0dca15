"""Layout of a training run on disk: configuration, weights, metrics, calibration, caches.

RUN/config.json                                  preset, options, data, fold assignment
RUN/{visual,audio}_backbone/, RUN/fold_0/ ...    checkpoint.safetensors, weights.safetensors,
                                                 metrics.jsonl
RUN/metrics.jsonl, RUN/curves.png                every part, every epoch
RUN/calibration.json                             the spread's scale and floor
RUN/tracks/, RUN/embeddings/, RUN/sources/       caches, can be deleted
RUN/evaluation/<split>/                          report.json, predictions/, submission.txt
RUN/evaluation/cache/                            tracks and embeddings of other data

A shipped run has no checkpoints, caches or RUN/evaluation; its report.json lies beside
config.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

from service.domain.model_signatures import FOLDS
from training.data.augmentation import Augmentation
from training.data.files import load_tensors, replace_text
from training.data.samples import Modality, WindowGrid
from training.folds import CrossValidationPlan, FoldSplit
from training.loop.checkpoint import StateDict
from training.loop.errors import RunConfigMismatch, RunIncomplete, RunNotFound
from training.loop.fitting import METRICS_FILE, WEIGHTS_FILE
from training.loop.options import Ablation, Decay, TrainingOptions, TrainingSchedule
from training.networks.encoder import EncoderConfig
from training.networks.fusion import FusionConfig
from training.networks.log_mel import LogMelConfig
from training.networks.tcn import TcnConfig
from training.networks.vggish import VggishConfig
from training.networks.visual_architectures import parse_visual_config
from training.presets import Networks, Preset, build_networks

CONFIG_FILE: Final = "config.json"
CURVES_FILE: Final = "curves.png"
CALIBRATION_FILE: Final = "calibration.json"
_FIXED_CONFIG_KEYS: Final = ("preset", "options", "data", "media", "plan", "initial")
"""Keys of config.json that must be unchanged when a run is resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """A run's folder and configuration."""

    folder: Path
    preset: Preset
    """As built: after the ablation, with the settings of imported backbones."""
    options: TrainingOptions
    plan: CrossValidationPlan
    config: Mapping[str, Any]

    def backbone_folder(self, modality: Modality) -> Path:
        """Return the folder of a backbone."""
        return self.folder / f"{modality}_backbone"

    def fold_folder(self, fold: int) -> Path:
        """Return the folder of a fold."""
        return self.folder / f"fold_{fold}"

    @property
    def part_folders(self) -> dict[str, Path]:
        """Folders of all parts by name, in the order of training."""
        backbones = {f"{m} backbone": self.backbone_folder(m) for m in ("visual", "audio")}
        return backbones | {f"fold {fold}": self.fold_folder(fold) for fold in self.options.folds}

    def read_histories(self) -> dict[str, list[dict[str, Any]]]:
        """Read the metrics of every epoch so far, by part."""
        return {
            part: [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]
            for part, folder in self.part_folders.items()
            if (folder / METRICS_FILE).is_file()
        }

    def load_networks(self, *, folds: bool = True) -> Networks:
        """Load the trained networks in evaluation mode; folds outside the run stay untrained.

        Raises: RunIncomplete.
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
        """Read the backbone's weights without its regression head."""
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
    """Start a run in a folder, or resume the one that is there.

    `metadata` has `data` and `initial`, which must be unchanged on resume, and further entries.

    Raises: RunConfigMismatch: names the keys that differ.
    """
    fixed_config = {"preset": asdict(preset), "options": asdict(options), "plan": asdict(plan)}
    config = json.loads(json.dumps({"format": 1, **fixed_config, **metadata}))
    if (folder / CONFIG_FILE).is_file():
        stored_config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        differing_keys = [
            name for name in _FIXED_CONFIG_KEYS if stored_config.get(name) != config.get(name)
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
    """Check that the run has all six folds.

    Raises: RunIncomplete.
    """
    if set(run.options.folds) != set(range(FOLDS)):
        raise RunIncomplete(f"{run.folder} has folds {run.options.folds}, all six are needed")


def _read_weights(file: Path) -> StateDict:
    if not file.is_file():
        raise RunIncomplete(f"{file} is missing; repeat the command to resume")
    return load_tensors(file)


def _parse_preset(values: dict[str, Any]) -> Preset:
    fusion = values["fusion"]
    return Preset(
        name=values["name"],
        visual=parse_visual_config(_lists_to_tuples(values["visual"])),
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
        shared=tuple(values.get("shared", ())),
    )


def _lists_to_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _list_to_tuple(value) for name, value in values.items()}


def _list_to_tuple(value: Any) -> Any:
    return (
        tuple(map(_list_to_tuple, cast("list[Any]", value))) if isinstance(value, list) else value
    )
