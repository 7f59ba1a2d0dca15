"""Learning rate schedule and early stopping."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from training.loop.options import Decay, TrainingSchedule


class LearningRateSchedule:
    """Linear warm-up, then decay on plateaus of the validation CCC or as a cosine."""

    def __init__(
        self, optimizer: Optimizer, schedule: TrainingSchedule, learning_rate: float
    ) -> None:
        self._optimizer = optimizer
        self._schedule = schedule
        self._peak = learning_rate
        self._plateau = ReduceLROnPlateau(
            optimizer,
            mode="max",
            factor=schedule.plateau_factor,
            patience=schedule.plateau_epochs,
            threshold=0.0,
        )
        self._best = -float("inf")
        self._epochs_since_best = 0
        self._set_warm_up_rate(0)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the current epoch."""
        return float(self._optimizer.param_groups[0]["lr"])

    @property
    def should_stop(self) -> bool:
        """True after `stop_epochs` without improvement; a cosine never stops early."""
        on_plateau = self._schedule.decay is Decay.PLATEAU
        return on_plateau and self._epochs_since_best >= self._schedule.stop_epochs

    def step(self, epoch: int, ccc: float) -> bool:
        """Record an epoch's CCC and set the next rate; returns whether the CCC is the best."""
        is_best = ccc > self._best
        self._best = max(ccc, self._best)
        self._epochs_since_best = 0 if is_best else self._epochs_since_best + 1
        if epoch + 1 < self._schedule.warm_up_epochs:
            self._set_warm_up_rate(epoch + 1)
        elif self._schedule.decay is Decay.COSINE:
            self._set_rate(self._peak * _cosine_factor(epoch + 1, self._schedule))
        else:
            self._plateau.step(ccc)  # pyright: ignore[reportUnknownMemberType]  # untyped epoch
        return is_best

    def state_dict(self) -> dict[str, Any]:
        """Return the state, as JSON values."""
        return {
            "best": self._best,
            "since_best": self._epochs_since_best,
            "learning_rate": self.learning_rate,
            "plateau": {
                name: value
                for name, value in self._plateau.state_dict().items()
                if isinstance(value, int | float | str)
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        self._best, self._epochs_since_best = state["best"], state["since_best"]
        self._plateau.load_state_dict(state["plateau"])
        self._set_rate(state["learning_rate"])

    def _set_warm_up_rate(self, epoch: int) -> None:
        self._set_rate(self._peak * min(1.0, (epoch + 1) / max(1, self._schedule.warm_up_epochs)))

    def _set_rate(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate


def _cosine_factor(epoch: int, schedule: TrainingSchedule) -> float:
    """Compute the factor of the peak rate after the warm-up, from 1 to nearly 0."""
    falling = max(1, schedule.epochs - schedule.warm_up_epochs)
    return 0.5 * (1.0 + math.cos(math.pi * (epoch - schedule.warm_up_epochs) / falling))
