"""Recipe of the shipped weights: every option that is not a default, and every step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training.loop.options import Ablation


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeStep:
    """One command of `python -m training`; is_distributed: runs in several processes."""

    title: str
    arguments: tuple[str, ...]
    is_distributed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Options of `synthesise` and `train`, and the runs to compare the full model with.

    dataset_options: data set to train and test on. calibration_options: data set of other actors
    to calibrate the uncertainty on; stranger_options: of yet others to measure it on. seed: of the
    full model. fold_seeds: further seeds of the folds, trained on the full model's backbones, as
    the ablations are. full_seeds: further seeds of backbones and folds.
    """

    preset: str
    dataset_options: tuple[str, ...]
    calibration_options: tuple[str, ...]
    stranger_options: tuple[str, ...]
    training_options: tuple[str, ...]
    seed: int
    fold_seeds: tuple[int, ...]
    full_seeds: tuple[int, ...]
    ablations: tuple[Ablation, ...]

    def build_steps(self, out: Path) -> list[RecipeStep]:
        """List the commands that produce OUT/<preset> from nothing."""
        data, full = out / "data", out / "full"
        ablation_runs = {ablation: out / str(ablation) for ablation in self.ablations}
        seed_runs = {seed: out / f"seed_{seed}" for seed in (*self.fold_seeds, *self.full_seeds)}
        comparison_arguments = [("--ablation", run) for run in ablation_runs.values()]
        comparison_arguments += [("--seed-run", run) for run in seed_runs.values()]
        backbone_arguments = ("--backbones", full)
        return [
            _build_step("draw training data", "synthesise", "--out", data, *self.dataset_options),
            self._build_train_step("full model", full, data, self.seed),
            *(
                self._build_train_step(
                    str(ablation), run, data, self.seed, "--ablate", ablation, *backbone_arguments,
                )
                for ablation, run in ablation_runs.items()
            ),
            *(
                self._build_train_step(
                    f"seed {seed}", run, data, seed,
                    *(backbone_arguments if seed in self.fold_seeds else ()),
                )
                for seed, run in seed_runs.items()
            ),
            _build_step(
                "draw calibration data", "synthesise", "--out", out / "calibration_data",
                *self.calibration_options,
            ),
            _build_step(
                "calibrate", "calibrate", "--run", full, "--data", out / "calibration_data",
                "--threads", 1,
            ),
            _build_step(
                "evaluate on the test set", "evaluate", "--run", full, "--data", data,
                "--split", "test", "--threads", 1,
                *(part for pair in comparison_arguments for part in pair),
            ),
            _build_step(
                "draw strangers", "synthesise", "--out", out / "strangers", *self.stranger_options,
            ),
            _build_step(
                "measure the uncertainty", "uncertainty", "--run", full, "--data",
                out / "strangers", "--threads", 1, "--ceiling",
            ),
            _build_step("ship", "ship", "--run", full, "--out", out / self.preset),
        ]  # fmt: skip

    def _build_train_step(
        self, title: str, run: Path, data: Path, seed: int, *more: object
    ) -> RecipeStep:
        arguments = ("train", "--data", data, "--out", run, "--preset", self.preset, "--seed", seed)
        return _build_step(
            f"train {title}", *arguments, *self.training_options, *more, is_distributed=True
        )


def _build_step(title: str, *arguments: object, is_distributed: bool = False) -> RecipeStep:
    return RecipeStep(
        title=title, arguments=tuple(map(str, arguments)), is_distributed=is_distributed
    )


_RATE_OPTIONS: Final = tuple(f"--rate={rate}" for rate in ("24", "25", "30", "60", "variable"))
SHIPPED_RECIPE: Final = Recipe(
    preset="mini",
    dataset_options=(
        "--actors", "330", "--seconds", "15", "--seed", "1", *_RATE_OPTIONS,
    ),
    calibration_options=("--actors", "120", "--seconds", "8", "--seed", "2", *_RATE_OPTIONS),
    stranger_options=("--actors", "120", "--seconds", "8", "--seed", "3", *_RATE_OPTIONS),
    training_options=(
        "--backbone-epochs", "120", "--epochs", "10", "--batch-windows", "8",
        "--frames-per-window", "6", "--backbone-learning-rate", "3e-3", "--decay", "cosine",
    ),
    seed=0,
    fold_seeds=(1,),
    full_seeds=(),
    ablations=tuple(Ablation),
)  # fmt: skip
