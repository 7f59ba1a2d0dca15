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

from service.domain.signatures import FOLDS
from training.data.augmentation import Augmentation
from training.data.files import replace_text
from training.data.samples import Modality
from training.data.windows import Grid
from training.folds import FoldPlan, Plan
from training.loop.checkpoint import State
from training.loop.errors import RunNotFound, RunOfOtherChoices, RunUnfinished
from training.loop.fitting import METRICS, WEIGHTS
from training.loop.options import Ablation, Decay, Options, Schedule
from training.networks.encoder import EncoderConfig
from training.networks.fusion import FusionConfig
from training.networks.iresnet import IResNetConfig
from training.networks.log_mel import LogMelConfig
from training.networks.tcn import TcnConfig
from training.networks.vggish import VggishConfig
from training.presets import Networks, Preset, build_networks

CONFIG: Final = "config.json"
CURVES: Final = "curves.png"
CALIBRATION: Final = "calibration.json"
_CHOICES: Final = ("preset", "options", "data", "plan", "initial")
"""What must be the same for a run to go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run's folder and its choices."""

    folder: Path
    preset: Preset
    """As built: without what is ablated, with the settings of imported backbones."""
    options: Options
    plan: Plan
    config: Mapping[str, Any]

    def backbone(self, modality: Modality) -> Path:
        """The folder of a backbone."""
        return self.folder / f"{modality}_backbone"

    def fold(self, fold: int) -> Path:
        """The folder of a fold."""
        return self.folder / f"fold_{fold}"

    @property
    def parts(self) -> dict[str, Path]:
        """Every part's folder, in the order of training."""
        backbones = {f"{m} backbone": self.backbone(m) for m in ("visual", "audio")}
        return backbones | {f"fold {fold}": self.fold(fold) for fold in self.options.folds}

    def histories(self) -> dict[str, list[dict[str, Any]]]:
        """Every part's epochs so far."""
        return {
            part: [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
            for part, folder in self.parts.items()
            if (folder / METRICS).is_file()
        }

    def load_networks(self, *, folds: bool = True) -> Networks:
        """The trained networks in evaluation mode; folds that were not asked for stay untrained.

        Raises: RunUnfinished.
        """
        networks = build_networks(self.preset, self.options.seed)
        networks.visual.load_state_dict(self._embedder("visual"))
        networks.audio.load_state_dict(self._embedder("audio"))
        for fold in self.options.folds if folds else ():
            networks.fusion.folds[fold].load_state_dict(_read(self.fold(fold) / WEIGHTS))
        return networks

    def _embedder(self, modality: Modality) -> State:
        """The backbone without the regression it was taught with."""
        state = _read(self.backbone(modality) / WEIGHTS)
        prefix = "backbone."
        return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def begin_run(
    folder: Path, *, preset: Preset, options: Options, plan: Plan, facts: Mapping[str, Any]
) -> Run:
    """Start a run in a folder, or go on with the one that is there.

    Args: facts: `data` and `initial`, which must not change, and anything else.
    Raises: RunOfOtherChoices: with the choices that differ.
    """
    choices = {"preset": asdict(preset), "options": asdict(options), "plan": asdict(plan)}
    config = json.loads(json.dumps({"format": 1, **choices, **facts}))
    if (folder / CONFIG).is_file():
        there = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        other = [name for name in _CHOICES if there.get(name) != config[name]]
        if other:
            raise RunOfOtherChoices(f"{folder} was begun with another {', another '.join(other)}")
    else:
        replace_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    return open_run(folder)


def open_run(folder: Path) -> Run:
    """Read a run. Raises: RunNotFound."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except OSError as error:
        raise RunNotFound(f"{folder / CONFIG} cannot be read") from error
    return Run(
        folder=folder,
        preset=_preset(config["preset"]),
        options=_options(config["options"]),
        plan=_plan(config["plan"]),
        config=config,
    )


def check_folds(run: Run) -> None:
    """Raises: RunUnfinished: not all six folds are in the run."""
    if set(run.options.folds) != set(range(FOLDS)):
        raise RunUnfinished(f"{run.folder} has folds {run.options.folds}, all six are needed")


def _read(file: Path) -> State:
    if not file.is_file():
        raise RunUnfinished(f"{file} is missing; the same command goes on where it stopped")
    return load_file(file)


def _preset(values: dict[str, Any]) -> Preset:
    fusion = values["fusion"]
    return Preset(
        name=values["name"],
        visual=IResNetConfig(**_tuples(values["visual"])),
        audio=VggishConfig(**_tuples(values["audio"])),
        log_mel=LogMelConfig(**_tuples(values["log_mel"])),
        fusion=FusionConfig(
            visual=TcnConfig(**_tuples(fusion["visual"])),
            audio=TcnConfig(**_tuples(fusion["audio"])),
            encoder=EncoderConfig(**_tuples(fusion["encoder"])),
        ),
    )


def _options(values: dict[str, Any]) -> Options:
    ablation = values["ablation"]
    parts: dict[str, Any] = {
        "ablation": None if ablation is None else Ablation(ablation),
        "grid": Grid(**values["grid"]),
        "backbone": _schedule(values["backbone"]),
        "fold": _schedule(values["fold"]),
        "augmentation": Augmentation(**values["augmentation"]),
    }
    return Options(**(_tuples(values) | parts))


def _schedule(values: dict[str, Any]) -> Schedule:
    decay: dict[str, Any] = {"decay": Decay(values["decay"])}
    return Schedule(**(values | decay))


def _plan(values: dict[str, Any]) -> Plan:
    folds = tuple(FoldPlan(**_tuples(fold)) for fold in values["folds"])
    return Plan(
        folds=folds,
        calibration=tuple(values["calibration"]),
        left_out=tuple(values["left_out"]),
    )


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _tuple(value) for name, value in values.items()}


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
