"""Training loop: fits one part until its validation CCC stops improving or its epochs are over."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.data.files import replace_tensors
from training.loop.checkpoint import (
    TrainingCheckpoint,
    flatten_optimizer_state,
    load_optimizer_state,
)
from training.loop.distributed import Ranks
from training.loop.errors import TrainingDiverged
from training.loop.lr_schedule import LearningRateSchedule
from training.loop.options import TrainingSchedule
from training.loop.run_logger import RunLogger, format_epoch, write_metrics
from training.metrics import Scores

CHECKPOINT_FILE: Final = "checkpoint.safetensors"
WEIGHTS_FILE: Final = "weights.safetensors"
METRICS_FILE: Final = "metrics.jsonl"


class TrainingTask(Protocol):
    """A part to fit: a network, its batches, its loss and its validation."""

    name: str
    model: nn.Module

    def set_trainable(self, epoch: int) -> None:
        """Switch to training mode and set which parameters are trained in this epoch."""
        ...

    def load_batches(self, epoch: int) -> Iterable[Any]:
        """Load this process's `steps_per_epoch` batches of the epoch."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches of an epoch."""
        ...

    def compute_loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Compute the loss, (); `model` is the task's model, possibly wrapped."""
        ...

    def validate(self) -> Scores:
        """Compute the CCC on the validation data."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FitContext:
    """Settings of a fit that do not belong to the task."""

    schedule: TrainingSchedule
    learning_rate: float
    seed: int
    ranks: Ranks
    logger: RunLogger


def fit_task(task: TrainingTask, folder: Path, context: FitContext) -> None:
    """Fit a part, resuming from its checkpoint.

    Writes checkpoint.safetensors and metrics.jsonl after each epoch, and the best weights to
    weights.safetensors at the end.
    """
    task.model.to(context.ranks.device)
    schedule = context.schedule
    optimizer = torch.optim.Adam(
        task.model.parameters(), lr=context.learning_rate, weight_decay=schedule.weight_decay
    )
    rate_schedule = LearningRateSchedule(optimizer, schedule, context.learning_rate)
    checkpoint = TrainingCheckpoint.load(folder / CHECKPOINT_FILE)
    if checkpoint.epochs:
        task.model.load_state_dict(checkpoint.model)
        load_optimizer_state(optimizer, checkpoint.optimizer)
        rate_schedule.load_state_dict(checkpoint.pace)
    while not checkpoint.finished:
        _fit_epoch(task, checkpoint, optimizer, rate_schedule, context)
        checkpoint.finished = rate_schedule.should_stop or checkpoint.epochs >= schedule.epochs
        if context.ranks.is_leader:
            checkpoint.save(folder / CHECKPOINT_FILE)
            write_metrics(folder / METRICS_FILE, checkpoint.history)
        context.logger.log(format_epoch(task.name, checkpoint.history[-1]))
    if context.ranks.is_leader and not (folder / WEIGHTS_FILE).is_file():
        best = {name: value.cpu().contiguous() for name, value in checkpoint.best.items()}
        replace_tensors(folder / WEIGHTS_FILE, best)
    context.ranks.wait_for_all()


def _fit_epoch(
    task: TrainingTask,
    checkpoint: TrainingCheckpoint,
    optimizer: torch.optim.Optimizer,
    rate_schedule: LearningRateSchedule,
    context: FitContext,
) -> None:
    began, epoch, rate = time.perf_counter(), checkpoint.epochs, rate_schedule.learning_rate
    loss = _train_epoch(task, epoch, optimizer, context)
    if not math.isfinite(loss):
        raise TrainingDiverged(f"{task.name}, epoch {epoch}")
    scores = context.ranks.broadcast_from_leader(task.validate)
    is_best = rate_schedule.step(epoch, scores.mean)
    checkpoint.epochs = epoch + 1
    checkpoint.pace = rate_schedule.state_dict()
    checkpoint.model = dict(task.model.state_dict())
    checkpoint.optimizer = flatten_optimizer_state(optimizer)
    if is_best:
        checkpoint.best = {name: value.detach().clone() for name, value in checkpoint.model.items()}
    record = {"epoch": epoch, "loss": loss, **scores.as_dict(), "learning_rate": rate}
    seconds = round(time.perf_counter() - began, 3)
    checkpoint.history.append(record | {"is_best": is_best, "seconds": seconds})


def _train_epoch(
    task: TrainingTask, epoch: int, optimizer: torch.optim.Optimizer, context: FitContext
) -> float:
    """Run the steps of one epoch; returns the mean loss of this process."""
    task.set_trainable(epoch)
    ranks = context.ranks
    # Wrapped again in each epoch: the wrapper reads the trainable parameters only once.
    model = DistributedDataParallel(task.model) if ranks.size > 1 else task.model
    total = torch.zeros((), dtype=torch.float64)
    title = f"{task.name} epoch {epoch}"
    batches = context.logger.track_progress(
        task.load_batches(epoch), total=task.steps_per_epoch, title=title
    )
    for step, batch in enumerate(batches):
        _seed_step(context.seed, task.name, epoch, step, ranks.rank)
        optimizer.zero_grad()
        loss = task.compute_loss(model, batch)
        loss.backward()  # pyright: ignore[reportUnknownMemberType]  # untyped parameters
        nn.utils.clip_grad_norm_(task.model.parameters(), context.schedule.gradient_norm)
        optimizer.step()
        total += loss.detach().double().cpu()
    return float(total / task.steps_per_epoch)


def _seed_step(*key: object) -> None:
    """Seed dropout from the step's key, so that it does not depend on earlier draws."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little"))  # pyright: ignore[reportUnknownMemberType]  # untyped seed
