"""How the shipped weights are made: every choice that is not a default, and every step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training.loop.options import Ablation


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of `python -m training`; spread: over as many processes as there are."""

    title: str
    arguments: tuple[str, ...]
    spread: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Options of `synthesise` and `train`, and what stands beside the full model.

    world, strangers: who is learnt from and tested on, and who the spread is calibrated on.
    seed: the full model's. seeds: others, of the folds alone, on the full model's backbones, as the
    ablations are. whole_seeds: others, of backbones and folds.
    """

    preset: str
    world: tuple[str, ...]
    strangers: tuple[str, ...]
    learning: tuple[str, ...]
    seed: int
    seeds: tuple[int, ...]
    whole_seeds: tuple[int, ...]
    ablations: tuple[Ablation, ...]

    def steps(self, out: Path) -> list[Step]:
        """From nothing to OUT/<preset>, ready to be committed."""
        data, full = out / "data", out / "full"
        ablated = {ablation: out / str(ablation) for ablation in self.ablations}
        others = {seed: out / f"seed_{seed}" for seed in (*self.seeds, *self.whole_seeds)}
        beside = [("--ablation", run) for run in ablated.values()]
        beside += [("--seed-run", run) for run in others.values()]
        taken = ("--backbones", full)
        return [
            _step("draw the world", "synthesise", "--out", data, *self.world),
            self._train("full model", full, data, self.seed),
            *(
                self._train(str(ablation), run, data, self.seed, "--ablate", ablation, *taken)
                for ablation, run in ablated.items()
            ),
            *(
                self._train(f"seed {seed}", run, data, seed, *(taken if seed in self.seeds else ()))
                for seed, run in others.items()
            ),
            _step("draw strangers", "synthesise", "--out", out / "strangers", *self.strangers),
            _step(
                "calibrate", "calibrate", "--run", full, "--data", out / "strangers",
                "--threads", 1,
            ),
            _step(
                "evaluate on the test set", "evaluate", "--run", full, "--data", data,
                "--split", "test", "--threads", 1, *(part for pair in beside for part in pair),
            ),
            _step("ship", "ship", "--run", full, "--out", out / self.preset),
        ]  # fmt: skip

    def _train(self, title: str, run: Path, data: Path, seed: int, *more: object) -> Step:
        arguments = ("train", "--data", data, "--out", run, "--preset", self.preset, "--seed", seed)
        return _step(f"train {title}", *arguments, *self.learning, *more, spread=True)


def _step(title: str, *arguments: object, spread: bool = False) -> Step:
    return Step(title=title, arguments=tuple(map(str, arguments)), spread=spread)


_RATES: Final = tuple(f"--rate={rate}" for rate in ("24", "25", "30", "60", "variable"))
SHIPPED: Final = Recipe(
    preset="mini",
    world=(
        "--actors", "330", "--seconds", "15", "--seed", "1", *_RATES,
    ),
    strangers=("--actors", "120", "--seconds", "8", "--seed", "2", *_RATES),
    learning=(
        "--backbone-epochs", "120", "--epochs", "10", "--batch-windows", "8",
        "--frames-per-window", "6", "--backbone-learning-rate", "3e-3", "--decay", "cosine",
    ),
    seed=0,
    seeds=(1,),
    whole_seeds=(),
    ablations=tuple(Ablation),
)  # fmt: skip
